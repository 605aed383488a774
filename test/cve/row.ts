/**
 * A test: its file relative to the root of the repository, and its title as the source writes it (with `${…}`
 * if one title serves several cases).
 */
type TestName = readonly [file: string, name: string];

/**
 * One published flaw of a program like ours or of a dependency, one entry point, or one class of flaws found
 * here.
 */
export interface Row {
  /** The CVE or GHSA number, the issue that reports it, or a short name. */
  readonly id: string;
  /** The program concerned, and the flaw. */
  readonly what: string;
  /** The tests that fail if Portcullis has the flaw. */
  readonly held?: readonly TestName[];
  /** Why the flaw cannot concern Portcullis: the component does not exist here. */
  readonly absent?: string;
}
