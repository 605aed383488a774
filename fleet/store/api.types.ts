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
  /** What a rule would have decided that an exception of the policy overrode. */
  readonly would?: string;
}

/** A release of a policy that some nodes do not have yet, and what it would refuse there. */
export interface UpcomingRelease {
  readonly release: string;
  readonly revision: string;
  /** How many nodes have decided by it without putting it in force, and on how many it would refuse. */
  readonly nodes: number;
  readonly refusing: number;
  /** How many nodes could not decide by it, and why one of them could not. */
  readonly failed: number;
  readonly problem?: string;
}
