/**
 * `fine`; `degraded`: the daemon runs, with less (`meaning` says what and why); `missing`: it can not run without it.
 */
export interface Finding {
  readonly topic: string;
  readonly state: 'fine' | 'degraded' | 'missing';
  /** What there is: a version, a mode. */
  readonly found: string;
  /** What it means that it is so. */
  readonly meaning?: readonly string[];
  /** What to do, where something can be done. */
  readonly fix?: string;
  /** Open flaws by CVE number. */
  readonly open?: readonly string[];
}

export interface Chapter {
  readonly title: string;
  readonly findings: readonly Finding[];
}
