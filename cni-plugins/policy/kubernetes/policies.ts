import type { NamedPort } from '../../types.ts';
import type { Labels, PolicySet } from './network-policy.ts';
import type { PeerSource } from './peer-groups.ts';

/** The policies in force, whatever their sources, and what the rules of this node need with them. */
export interface PolicyFollower {
  /** Checks the sources. Returns what changed since the last call; at the first call, the set. */
  changed(): PolicyChange;
  /** Absent: peers are the pods of this node. */
  readonly peers?: PeerSource;
}

export interface PolicyChange {
  /** Absent: as before. */
  readonly set?: PolicySet;
  /** Absent: as before. */
  readonly pods?: PodDescriptions;
}

/**
 * Descriptions of pods of this node in the API, by {@link podIdentity}. They win over those that pods were
 * created with.
 */
export type PodDescriptions = ReadonlyMap<string, PodDescription>;

/**
 * Identifies a pod of this node in the API. The author of a pod can give it the UID of a static pod (the
 * annotation of a mirror), but not its namespace.
 */
export const podIdentity = ({
  namespace,
  uid,
}: {
  readonly namespace: string;
  readonly uid: string;
}): string => `${namespace}/${uid}`;

export interface PodDescription {
  readonly labels: Labels;
  /** The pod has too many labels to follow, and `labels` is empty. */
  readonly labelsUnknown?: true;
  readonly namedPorts: readonly NamedPort[];
}
