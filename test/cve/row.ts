/** A test: its file from the root of the repository, and its name as the source writes it (with `${…}` where it is one of a table). */
type TestName = readonly [file: string, name: string];

/** One published flaw of a program like ours, or of what we build on. */
export interface Row {
  /** CVE or GHSA number, or the place where it was reported. */
  readonly id: string;
  /** Whose, and what went wrong. */
  readonly what: string;
  /** The tests that fail if we had the flaw. */
  readonly held?: readonly TestName[];
  /** Why it cannot concern us: the part is absent. */
  readonly absent?: string;
}
