/** The result of importing another tool's policy. */
export interface ImportedPolicy {
  /** The rules of one TrustPolicy document, in order. */
  readonly rules: readonly ImportedRule[];
  /** Files that the rules refer to, by the relative names in the rules. */
  readonly files: readonly { readonly name: string; readonly bytes: Uint8Array }[];
  /**
   * Every part without a counterpart. Images that depend on it are denied, and never admitted more easily.
   */
  readonly unmapped: readonly Unmapped[];
}

/** One rule of another tool, converted to ours. */
export interface ImportedRule {
  /** The origin of the rule, and how it was converted: a comment above the rule. */
  readonly comment: string;
  /** A rule as plain values of a policy file. */
  readonly rule: Readonly<Record<string, unknown>>;
}

/** A part of the source without a counterpart. */
export interface Unmapped {
  readonly file: string;
  /** Counted from 1; 1:1 when the source has no positions. */
  readonly line: number;
  readonly column: number;
  /** For example `spec.authorities[0].ctlog`. */
  readonly path: string;
  readonly why: string;
  /** The effect instead, such as "its images are denied". */
  readonly became: string;
}
