/** One check taken out of the product, and the tests that must notice. */
export interface Mutant {
  readonly file: string;
  /** What is removed, in a few words. */
  readonly removes: string;
  /** Text that the file holds exactly once. */
  readonly from: string;
  /** What it becomes. */
  readonly to: string;
  /** Test files of which at least one must fail. */
  readonly tests: readonly string[];
  /** Runs only tests whose name matches. */
  readonly pattern?: string;
}

/** @throws Error unless `text` holds `from` exactly once */
export function mutated(text: string, { file, from, to }: Pick<Mutant, 'file' | 'from' | 'to'>): string {
  const at = text.indexOf(from);
  if (at < 0) throw new Error(`${file} does not hold ${JSON.stringify(from)}`);
  if (text.includes(from, at + 1)) throw new Error(`${file} holds ${JSON.stringify(from)} more than once`);
  if (from === to) throw new Error(`${file}: nothing is changed`);
  return text.slice(0, at) + to + text.slice(at + from.length);
}

/** Rows of file, text before, text after, and the test files that hold the check: what is removed is said by the text itself. */
export function checks(rows: readonly (readonly [file: string, from: string, to: string, ...tests: string[]])[]): Mutant[] {
  return rows.map(([file, from, to, ...tests]) => ({ file, removes: `${from} → ${to === '' ? '(nothing)' : to}`, from, to, tests }));
}
