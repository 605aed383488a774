/** What the import of another tool's policy came to. */
export interface ImportedPolicy {
  /** In order; together they are the rules of one TrustPolicy document. */
  readonly rules: readonly ImportedRule[];
  /** Files that the rules refer to, by the relative names they use. */
  readonly files: readonly { readonly name: string; readonly bytes: Uint8Array }[];
  /** Every part that has no counterpart. What depends on it is denied, never admitted more easily. */
  readonly unmapped: readonly Unmapped[];
}

/** One rule of another tool, in our words. */
export interface ImportedRule {
  /** Where it comes from, and what became of it: a comment above the rule. */
  readonly comment: string;
  /** A rule as a policy file holds it, in plain values. */
  readonly rule: Readonly<Record<string, unknown>>;
}

/** A part of the source that has no counterpart. */
export interface Unmapped {
  readonly file: string;
  /** From 1; 1:1 where the source has no places. */
  readonly line: number;
  readonly column: number;
  /** As in `spec.authorities[0].ctlog`. */
  readonly path: string;
  readonly why: string;
  /** What holds instead: "its images are denied". */
  readonly became: string;
}
