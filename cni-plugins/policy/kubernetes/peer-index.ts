import { append } from '../../../base/lists/index.ts';
import { parseIp } from '../../../base/addresses/index.ts';
import type { NamedPort } from '../../types.ts';
import { memberOf } from '../rules/peer-group.ts';
import { blockOf } from './blocks.ts';
import type { Block } from './blocks.ts';
import { createMemberCounts, memberLimits, noMembers } from './member-counts.ts';
import type { CountedGroup, GroupChange, MemberLimits } from './member-counts.ts';
import { nameLabel } from './selectors.ts';
import { selects } from './network-policy.ts';
import type { Labels, Peer, PolicyPort, Selector } from './network-policy.ts';

export { nameLabel } from './selectors.ts';
export type { GroupChange } from './member-counts.ts';

/**
 * The members of groups of peers, kept up to date one change at a time: a pod, the labels of a namespace, or
 * a group comes, changes or goes. Pure.
 */
export interface PeerIndex {
  /** @param pod undefined: the pod is gone */
  putPod(key: string, pod: PeerPod | undefined): void;
  /** @param labels undefined: nothing is known of the namespace */
  putNamespace(name: string, labels: Labels | 'unknown' | undefined): void;
  /** The next `take` returns all members of the group, also of one that exists. */
  addGroup(definition: GroupDefinition): void;
  removeGroup(key: string): void;
  /** Returns what changed since the last call: members of groups that exist. */
  take(): GroupChange[];
  /** Groups that have no members, because they would have too many, with the reason. */
  problems(): readonly string[];
  size(): { readonly pods: number; readonly groups: number; readonly members: number };
}

export interface PeerPod {
  readonly namespace: string;
  readonly labels: Labels;
  /**
   * The labels have not arrived yet, or are too many to follow. No NetworkPolicy selects the pod as a peer. A
   * rule of a ClusterNetworkPolicy selects it if the rule denies, or needs no labels of pods.
   */
  readonly labelsUnknown?: true;
  /** Canonical. */
  readonly addresses: readonly string[];
  readonly namedPorts: readonly NamedPort[];
  /** The pod is in the network of its node. */
  readonly hostNetwork?: boolean;
  /** It is not a pod but a node, which only a peer of nodes chooses. */
  readonly isNode?: true;
}

/** Which pods are in a group. Plain values: they cross threads. */
export interface GroupDefinition {
  readonly key: string;
  /** The namespace of the policy. Absent: the policy's namespace cannot be read. */
  readonly namespace?: string;
  /** Absent: every pod. A block counts only in a group with a port. */
  readonly peers?: readonly Peer[];
  /** The members are the pods' addresses, each with the number of its container port of this name. */
  readonly port?: { readonly protocol: PolicyPort['protocol']; readonly name: string };
  /** It belongs to a ClusterNetworkPolicy: pods in the network of a node are not members. */
  readonly ofCluster?: true;
  /** While labels of a pod or of its namespace are not known, pods that they might choose are members. */
  readonly orMight?: true;
}

/**
 * The group of the peers of a rule of a ClusterNetworkPolicy. Equal rules of all of them share it.
 * @param peers undefined: every pod
 * @param use `denied`: a pod whose labels are not known is a member if the rule may be about it
 */
export function clusterGroup(
  peers: readonly Peer[] | undefined,
  port?: GroupDefinition['port'],
  use?: 'denied',
): GroupDefinition {
  // Without labels nothing can be unknown, and rules of all actions share the group.
  const orMight =
    use === 'denied' && peers?.some((peer) => dependsOnLabels(peer) || selectsPods(peer)) === true;
  return {
    key: JSON.stringify(['cluster', peers ?? null, port ?? null, ...(orMight ? ['or might'] : [])]),
    ...(peers !== undefined && { peers }),
    ...(port !== undefined && { port }),
    ofCluster: true,
    ...(orMight && { orMight }),
  };
}

/** Returns whether labels of namespaces, other than their names, are needed to choose the peer's pods. */
export const dependsOnLabels = (peer: Peer): boolean =>
  'namespaces' in peer && peer.namespaces.some(({ key }) => key !== nameLabel);

const selectsPods = (peer: Peer): boolean => 'pods' in peer && peer.pods.length > 0;

/** @param peers undefined: every pod */
export function groupDefinition(
  namespace: string | undefined,
  peers: readonly Peer[] | undefined,
  port?: GroupDefinition['port'],
): GroupDefinition {
  return {
    // The namespace is always a part of the key, so that a group counts towards the limit of one namespace.
    key: JSON.stringify([namespace ?? null, peers ?? null, port ?? null]),
    ...(namespace !== undefined && { namespace }),
    ...(peers !== undefined && { peers }),
    ...(port !== undefined && { port }),
  };
}

export interface PeerIndexOptions {
  /**
   * Whether a namespace that nothing is known about counts as one without labels. Otherwise its labels count
   * as unknown: a selector of labels does not select it, not even by their absence.
   */
  readonly absentIsBare: boolean;
  readonly limits?: MemberLimits;
}

export function selectsNamespace(
  selector: Selector,
  namespace: string,
  labels: Labels | 'unknown' | undefined,
  absentIsBare: boolean,
): boolean {
  // When labels are not known, none of them may be treated as absent.
  if (labels === 'unknown' || (labels === undefined && !absentIsBare))
    return selector.every((one) => one.key === nameLabel && selects([one], { [nameLabel]: namespace }));
  return selects(selector, { ...labels, [nameLabel]: namespace });
}

interface Group extends CountedGroup, GroupDefinition {
  readonly blocks: readonly { readonly block: Block; readonly except: readonly Block[] }[];
}

export function createPeerIndex({ absentIsBare, limits = memberLimits }: PeerIndexOptions): PeerIndex {
  const pods = new Map<string, PeerPod>();
  const podsOf = new Map<string, Set<string>>();
  const namespaces = new Map<string, Labels | 'unknown'>();
  const groups = new Map<string, Group>();
  /** Groups whose members are all in one namespace, by that namespace. */
  const narrow = new Map<string, Set<Group>>();
  const wide = new Set<Group>();
  const counts = createMemberCounts<Group>(limits);

  const membersOf = (group: Group, pod: PeerPod | undefined): readonly string[] =>
    pod === undefined ? [] : memberTexts(group, pod, namespaces.get(pod.namespace), absentIsBare);

  const change = (group: Group, before: readonly string[], now: readonly string[]): void => {
    if (before.length === 0 && now.length === 0) return;
    // Additions first: a member that stays is not reported.
    for (const member of now) counts.count(group, member, 1);
    for (const member of before) counts.count(group, member, -1);
  };

  const groupsFor = (...names: readonly (string | undefined)[]): Set<Group> => {
    const found = new Set(wide);
    for (const name of names) for (const group of narrow.get(name ?? '') ?? []) found.add(group);
    return found;
  };

  const fill = (group: Group): void => {
    const keys = isNarrow(group) ? (podsOf.get(group.namespace ?? '') ?? []) : pods.keys();
    for (const key of keys) change(group, [], membersOf(group, pods.get(key)));
  };

  return {
    putPod(key, pod) {
      const before = pods.get(key);
      for (const group of groupsFor(before?.namespace, pod?.namespace))
        change(group, membersOf(group, before), membersOf(group, pod));
      if (before !== undefined && before.namespace !== pod?.namespace) {
        const those = podsOf.get(before.namespace);
        those?.delete(key);
        if (those?.size === 0) podsOf.delete(before.namespace);
      }
      if (pod === undefined) return void pods.delete(key);
      pods.set(key, pod);
      const those = podsOf.get(pod.namespace) ?? new Set();
      podsOf.set(pod.namespace, those.add(key));
    },
    putNamespace(name, labels) {
      const those = [...(podsOf.get(name) ?? [])].flatMap((key) => pods.get(key) ?? []);
      // Selectors without namespaces choose pods of the policy's own namespace, whatever its labels are.
      const before = namespaces.get(name);
      if (labels === undefined) namespaces.delete(name);
      else namespaces.set(name, labels);
      // One at a time: thousands of groups and of pods would need a gigabyte together.
      for (const group of wide)
        for (const pod of those)
          change(group, memberTexts(group, pod, before, absentIsBare), membersOf(group, pod));
    },
    addGroup(definition) {
      const known = groups.get(definition.key);
      if (known !== undefined) return counts.refresh(known);
      const group: Group = {
        ...definition,
        blocks: blocksOf(definition),
        ...noMembers(),
      };
      groups.set(group.key, group);
      const place = isNarrow(group) ? (group.namespace ?? '') : undefined;
      if (place === undefined) wide.add(group);
      else narrow.set(place, (narrow.get(place) ?? new Set()).add(group));
      counts.refresh(group);
      fill(group);
    },
    removeGroup(key) {
      const group = groups.get(key);
      if (group === undefined) return;
      groups.delete(key);
      wide.delete(group);
      const those = narrow.get(group.namespace ?? '');
      those?.delete(group);
      if (those?.size === 0) narrow.delete(group.namespace ?? '');
      counts.forget(group);
    },
    take() {
      counts.refill(fill);
      return counts.take();
    },
    problems: () => [...groups.values()].filter(({ isOverfull }) => isOverfull).map(problemOf),
    size: () => ({ pods: pods.size, groups: groups.size, members: counts.size() }),
  };
}

const problemOf = ({ namespace = '*', ofCluster }: GroupDefinition): string =>
  ofCluster === true
    ? 'selectors of ClusterNetworkPolicies select more pods than a node can follow: rules with these selectors accept nothing, or deny everything; select fewer pods'
    : `selectors of NetworkPolicies of the namespace ${namespace} select more pods than a node can follow: these selectors select no pods; select fewer pods`;

const isNarrow = ({ peers }: GroupDefinition): boolean =>
  peers?.every((peer) => !('cidr' in peer) && !('nodes' in peer) && peer.namespaces === undefined) === true;

function blocksOf({ peers = [] }: GroupDefinition): Group['blocks'] {
  return peers.flatMap((peer) => {
    const block = 'cidr' in peer ? blockOf(peer.cidr) : undefined;
    if (block === undefined || !('cidr' in peer)) return [];
    return [{ block, except: peer.except.flatMap((hole) => blockOf(hole) ?? []) }];
  });
}

function memberTexts(
  group: Group,
  pod: PeerPod,
  labels: Labels | 'unknown' | undefined,
  absentIsBare: boolean,
): readonly string[] {
  const { peers, port, ofCluster, orMight } = group;
  if (ofCluster === true && pod.hostNetwork === true) return [];
  // NetworkPolicies only allow.
  if (pod.labelsUnknown === true && ofCluster !== true) return [];
  const numbers =
    port === undefined
      ? []
      : pod.namedPorts.filter(({ name, protocol }) => name === port.name && protocol === port.protocol);
  if (port !== undefined && numbers.length === 0) return [];
  const chooses = (peer: Peer): boolean => {
    if ('cidr' in peer) return false;
    if ('nodes' in peer) return pod.isNode === true && selects(peer.nodes, pod.labels);
    if (pod.isNode === true) return false;
    // A selector may require the absence of a label.
    if (
      pod.labelsUnknown === true
        ? selectsPods(peer) && orMight !== true
        : !selects(peer.pods ?? [], pod.labels)
    )
      return false;
    if (peer.namespaces === undefined) return pod.namespace === group.namespace;
    const isUnknown = labels === undefined || labels === 'unknown';
    const asked =
      orMight === true && isUnknown
        ? peer.namespaces.filter(({ key }) => key === nameLabel)
        : peer.namespaces;
    return selectsNamespace(asked, pod.namespace, labels, absentIsBare);
  };
  const isChosen = peers === undefined ? pod.isNode !== true : peers.some(chooses);
  const addresses = isChosen ? pod.addresses : pod.addresses.filter((address) => isInBlocks(group, address));
  if (port === undefined) return addresses;
  const members: string[] = [];
  for (const number of new Set(numbers.map((each) => each.port)))
    append(
      members,
      addresses.map((address) => memberOf(address, number)),
    );
  return members;
}

function isInBlocks({ blocks }: Group, text: string): boolean {
  if (blocks.length === 0) return false;
  const address = parseIp(text);
  const holds = ({ family, interval }: Block): boolean =>
    address?.family === family && interval.low <= address.value && address.value <= interval.high;
  return blocks.some(({ block, except }) => holds(block) && !except.some(holds));
}
