/** One removed check of the product, and the tests that must notice. */
export interface Mutant {
  readonly file: string;
  /** A short description of the removed check. */
  readonly removes: string;
  /** Text that occurs exactly once in the file. Its white space matches any white space. */
  readonly from: string;
  /** Its replacement. */
  readonly to: string;
  /** Test files of which at least one must fail. */
  readonly tests: readonly string[];
  /** Runs only tests whose name matches. */
  readonly pattern?: string;
}

/** One text of the product, and its replacement. */
export type SourceChange = Pick<Mutant, 'file' | 'from' | 'to'>;

/**
 * Returns the changed text. White space in `from` matches any white space.
 * @throws Error unless `from` occurs exactly once in `text`
 */
export function mutated(text: string, { file, from, to }: SourceChange): string {
  const escaped = from.replaceAll(/[.*+?^${}()|[\]\\]/gu, String.raw`\$&`);
  const pattern = escaped.replaceAll(/\s+/gu, String.raw`\s+`);
  const [found, second] = text.matchAll(new RegExp(pattern, 'gu'));
  if (found === undefined) throw new Error(`${file} does not contain ${JSON.stringify(from)}`);
  if (second !== undefined) throw new Error(`${file} contains ${JSON.stringify(from)} more than once`);
  if (from === to) throw new Error(`${file}: nothing is changed`);
  return text.slice(0, found.index) + to + text.slice(found.index + found[0].length);
}

/**
 * Rows of file, text before, text after, and the test files that cover the check: the text itself describes
 * the removed check.
 */
export function checks(
  rows: readonly (readonly [file: string, from: string, to: string, ...tests: string[]])[],
): Mutant[] {
  return rows.map(([file, from, to, ...tests]) => ({
    file,
    removes: `${from} → ${to === '' ? '(nothing)' : to}`,
    from,
    to,
    tests,
  }));
}
