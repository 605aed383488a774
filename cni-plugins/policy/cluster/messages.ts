import type { ApiPlace } from '../../../base/kubernetes/index.ts';
import type { ClusterNetworkPolicy } from '../kubernetes/cluster-network-policy.ts';
import type { Labels, NetworkPolicy } from '../kubernetes/network-policy.ts';
import type { GroupChange, GroupDefinition, PeerPod } from '../kubernetes/peer-index.ts';
import type { PodDescription } from '../kubernetes/policies.ts';
import type { ClusterInForce } from '../../types.ts';

/** The messages between the network's thread and the Worker that follows a cluster. Plain values. */

/** The cluster to follow, and the node's identity in it. */
export interface PolicyCluster {
  /** Read again for each request, with the files that it names. */
  readonly place: ApiPlace;
  /** The cluster's name for this node. */
  readonly nodeName: string;
}

export interface ClusterSettings extends PolicyCluster {
  /** Prefix of the files that store the last state. */
  readonly storedAt: string;
}

/** The changes in the cluster that matter for this node. */
export interface ClusterChanges {
  /** The policies, namespaces and pods here replace all earlier ones. */
  readonly whole: boolean;
  /** By `namespace/name`; undefined: gone. */
  readonly policies: readonly (readonly [key: string, policy: NetworkPolicy | undefined])[];
  /** ClusterNetworkPolicies by their names; undefined: gone. */
  readonly clusterPolicies: readonly (readonly [name: string, policy: ClusterNetworkPolicy | undefined])[];
  /** Labels of namespaces, by which ClusterNetworkPolicies select; undefined: gone. */
  readonly namespaces: readonly (readonly [name: string, labels: Labels | undefined])[];
  readonly groups: readonly GroupChange[];
  /** Groups that are not followed any more. */
  readonly dropped: readonly string[];
  /** Pods of this node, by `podIdentity`. */
  readonly pods: readonly (readonly [identity: string, description: PodDescription | undefined])[];
  /** When the first of these changes arrived, in milliseconds since 1970. */
  readonly at: number;
}

/** Counters since the start, and current values. */
export interface ClusterFigures extends Omit<ClusterInForce, 'lagSeconds'> {
  /** Policies of both kinds are not known, so every pod of the node is isolated. */
  readonly isolated: boolean;
  /** Advice about `away`. */
  readonly awayFix?: string;
  readonly problems: readonly string[];
}

/** Everything that the network's thread knows and the Worker needs. */
export interface OwnersState {
  readonly groups: readonly GroupDefinition[];
  readonly pods: readonly (readonly [id: string, pod: PeerPod, identity?: string])[];
  readonly namespaces: readonly (readonly [name: string, labels: Labels | 'unknown'])[];
}

// These are types, not interfaces, because they must be offers (base/process).
export type ClusterCalls = {
  /** Begins again: the answer is a whole change. */
  readonly begin: (state: OwnersState) => void;
  readonly want: (definition: GroupDefinition) => void;
  readonly drop: (key: string) => void;
  readonly putPod: (id: string, pod: PeerPod | undefined, identity?: string) => void;
  readonly putNamespaces: (namespaces: OwnersState['namespaces']) => void;
};

export type ClusterOwner = {
  readonly log: (level: 'info' | 'warn' | 'error', fields: object, message: string) => void;
  /** The Worker has started, and knows nothing of the network's thread. */
  readonly hello: () => void;
  /** Comes only while the policies are known: from the API, or as they were stored last. */
  readonly changes: (changes: ClusterChanges) => void;
  readonly figures: (figures: ClusterFigures) => void;
};
