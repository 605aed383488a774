/** An unknown field. */
export interface UnknownField {
  readonly key: string;
  /** The known field that was probably meant. */
  readonly meant?: string;
}

/** Returns the first field of an object that is not a known one. */
export function unknownField(
  value: Readonly<Record<string, unknown>>,
  known: readonly string[],
): UnknownField | undefined {
  const key = Object.keys(value).find((name) => !known.includes(name));
  if (key === undefined) return undefined;
  const meant = closest(key, known);
  return meant === undefined ? { key } : { key, meant };
}

/** Returns a field whose name is similar to a known one but differs. */
export function misspelled(
  value: Readonly<Record<string, unknown>>,
  known: readonly string[],
): UnknownField | undefined {
  for (const key of Object.keys(value)) {
    const meant = known.includes(key) ? undefined : closest(key, known);
    if (meant !== undefined) return { key, meant };
  }
  return undefined;
}

export function unknownFieldText({ meant }: UnknownField): string {
  return `there is no such field${meant === undefined ? '' : `: did you mean ${meant}?`}`;
}

/** Returns the known word from which this one differs by a few typing errors. */
function closest(word: string, known: readonly string[]): string | undefined {
  const ranked = known
    .map((one) => ({ one, slips: distance(word.toLowerCase(), one.toLowerCase()) }))
    .filter(({ one, slips }) => slips <= (one.length > 6 ? 2 : 1))
    .sort((a, b) => a.slips - b.slips);
  return ranked[0]?.one;
}

/** Returns Levenshtein's distance. Words of very different lengths are rejected early. */
function distance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > 2) return 3;
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(
        Math.min(
          (row[j] ?? 0) + 1,
          (next[j - 1] ?? 0) + 1,
          (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1),
        ),
      );
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
