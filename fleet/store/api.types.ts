/** A verdict of a node. */
export interface FleetVerdict {
  readonly node: string;
  readonly seq: number;
  /** ISO 8601. */
  readonly time: string;
  readonly outcome: string;
  readonly reference: string;
  readonly digest: string;
  readonly namespace: string;
  readonly verdict: string;
  readonly policyRevision: string;
  /** The outcome of the rule without the exception of the policy that overrode it. */
  readonly would?: string;
}

/** A release of a policy that is not in force on some nodes yet, and what it would refuse there. */
export interface UpcomingRelease {
  readonly release: string;
  readonly revision: string;
  /**
   * The number of nodes that have evaluated it without putting it in force, and the number of nodes on which
   * it would refuse workloads.
   */
  readonly nodes: number;
  readonly refusing: number;
  /** The number of nodes that could not evaluate it, and the reason of one of them. */
  readonly failed: number;
  readonly problem?: string;
}
