/** A workload that a release denies. */
export interface DeniedWorkload {
  readonly namespace: string;
  readonly reference: string;
  readonly outcome: 'deny' | 'undecided';
  readonly rule: string;
}

/** The policy in force on a node, and its subscription to releases. All times are ISO 8601. */
export interface AdminPolicyStatus {
  /** Absent: there is no policy, and everything new is denied. */
  readonly revision?: string;
  readonly rules?: number;
  /** Why the policy could not be loaded, or what limits it. */
  readonly problem?: string;
  /** Absent: the policy is in files of the node. */
  readonly subscription?: AdminPolicySubscription;
  /** Absent: the policy is not in objects of the cluster. */
  readonly cluster?: AdminClusterPolicy;
}

/**
 * Whether the node follows the TrustPolicy and EntitlementProfile objects of its cluster. `none`: they have
 * not been read yet. `current`: they are in force. `unreachable`: the API server cannot be asked, and the
 * objects that were read last are in force. `refused`: the latest objects are not in force, and those before
 * stay. `empty`: the cluster has no TrustPolicy, and everything new is denied.
 */
export interface AdminClusterPolicy {
  readonly state: 'none' | 'current' | 'unreachable' | 'refused' | 'empty';
  /** Since when the objects are in force, or the cluster has none. */
  readonly since?: string;
  /** The objects in force. */
  readonly objects: readonly {
    readonly kind: string;
    readonly name: string;
    readonly generation: number;
  }[];
  /** Why the latest objects are not in force. */
  readonly problem?: { readonly why: string; readonly at: string };
  /** Why the API server cannot be asked, and since when. */
  readonly unreachable?: { readonly why: string; readonly since: string };
}

/** The state of a node's subscription to policy releases. */
export interface AdminPolicySubscription {
  readonly service: string;
  readonly channel: string;
  readonly node: { readonly name: string; readonly labels: Readonly<Record<string, string>> };
  readonly state: 'none' | 'current' | 'pending' | 'watching' | 'halted' | 'refused' | 'withdrawn' | 'stale';
  /** The release in force. */
  readonly release?: {
    readonly number: number;
    readonly sha256: string;
    readonly revision: string;
    readonly since: string;
  };
  /** The newest release of the channel, and the stage that it has reached. */
  readonly newest?: { readonly number: number; readonly stage: string };
  /** A release that the node did not apply, or rolled back. */
  readonly halted?: {
    readonly number: number;
    readonly sha256: string;
    readonly at: string;
    readonly when: 'before' | 'after';
    /** The number of workloads; `denials` names the first of them. */
    readonly count: number;
    readonly denials: readonly DeniedWorkload[];
  };
  /**
   * Workloads that a newer release would deny here. The release has not reached the stage of the node, or is
   * halted. `count` is the number of workloads; `denials` names the first of them. `problem`: why the node
   * could not evaluate the release.
   */
  readonly upcoming?: {
    readonly release: string;
    readonly revision?: string;
    readonly count: number;
    readonly denials: readonly DeniedWorkload[];
    readonly problem?: string;
  };
  /** Why the last request for a release failed. */
  readonly problem?: {
    readonly code: string;
    readonly why: string;
    readonly fix: string;
    readonly at: string;
    readonly isUnavailable: boolean;
  };
  /** Time of the last accepted answer of the source, of the last request, and of the next request. */
  readonly contact?: string;
  readonly attempt?: string;
  readonly next?: string;
  /** When the signed metadata expire. */
  readonly expires?: string;
}
