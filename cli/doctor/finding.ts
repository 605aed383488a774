/**
 * A finding of `portcullis doctor`.
 * `fine`; `degraded`: the daemon runs with restrictions (`meaning` says which and why); `missing`: it cannot
 * run without it.
 */
export interface Finding {
  readonly topic: string;
  readonly state: 'fine' | 'degraded' | 'missing';
  /** The detected value: a version, a mode. */
  readonly found: string;
  /** The consequences of the finding. */
  readonly meaning?: readonly string[];
  /** The advice, where the user can do something. */
  readonly fix?: string;
  /** For `missing`: whether only some pods cannot start without it. */
  readonly partial?: boolean;
  /** CVE numbers of open vulnerabilities. */
  readonly open?: readonly string[];
}

export interface Chapter {
  readonly title: string;
  readonly findings: readonly Finding[];
}
