import type { ListedCollection } from '../../../base/kubernetes/index.ts';
import { groupsOf, indexPolicies } from '../kubernetes/evaluate.ts';
import type { Labels } from '../kubernetes/network-policy.ts';
import { podIdentity } from '../kubernetes/policies.ts';
import { createPeerIndex } from '../kubernetes/peer-index.ts';
import type { GroupDefinition, PeerPod } from '../kubernetes/peer-index.ts';
import { createFollowedGroups } from './followed-groups.ts';
import type { ClusterChanges, ClusterFigures, OwnersState } from './messages.ts';
import type { ClusterPod } from './objects.ts';
import { createOwnPods } from './own-pods.ts';
import { createPodObjects } from './pod-objects.ts';
import { createPolicyObjects } from './policy-objects.ts';
import type { PolicyObjects } from './policy-objects.ts';
import type { SavedParts } from './saved-parts.ts';

/**
 * Pods, namespaces and policies as the API last sent them, the groups of peers among them, and what of their
 * changes was not taken yet. No side effects.
 */
export interface ClusterTable {
  readonly pods: ListedCollection;
  readonly namespaces: ListedCollection;
  readonly policies: ListedCollection;
  /** Empty as long as the cluster has no such resource. */
  readonly clusterPolicies: ListedCollection;
  readonly nodes: ListedCollection;
  /** Reports that all changes of a collection up to this version have arrived. */
  reached(collection: Versioned, version: string): void;
  /** Forgets the requests of the network's thread, and takes its current knowledge. */
  begin(state: OwnersState): void;
  want(definition: GroupDefinition): void;
  drop(key: string): void;
  putPod(id: string, pod: PeerPod | undefined, identity?: string): void;
  putNamespaces(namespaces: OwnersState['namespaces']): void;
  /** Takes a stored state, before anything else has arrived. */
  load(saved: Partial<SavedParts>): void;
  /**
   * Returns a part of the state to store, and its revision, which changes with it. Undefined: it is not known
   * yet, because a list that is not complete is not a state.
   */
  saved<Part extends keyof SavedParts>(
    part: Part,
  ): { readonly value: SavedParts[Part]; readonly revision: number } | undefined;
  /** Whether the policies of the cluster are known: from the API, or as they were stored last. */
  known(): boolean;
  /** Returns what changed since the last call; undefined: nothing. */
  take(): Omit<ClusterChanges, 'at'> | undefined;
  figures(): Pick<
    ClusterFigures,
    'clusterPolicies' | 'groups' | 'members' | 'namespaces' | 'pods' | 'policies' | 'problems' | 'synced'
  >;
}

/** Collections whose versions are stored with their objects. */
export type Versioned = 'clusternetworkpolicies' | 'namespaces' | 'networkpolicies' | 'nodes' | 'pods';

/** Number of problems that are reported: a reader corrects the first ones first. */
const mostProblems = 100;

export function createClusterTable(nodeName: string): ClusterTable {
  const index = createPeerIndex({ absentIsBare: false });
  const groups = createFollowedGroups(index);
  const own = createOwnPods(index, (addresses) => pods.heldOtherwise(addresses));
  /** Labels that files describe. The cluster counts more. */
  let described: ReadonlyMap<string, Labels | 'unknown'> = new Map();
  const versions: Partial<Record<Versioned, string>> = {};
  let isForeseen = true;
  let isWhole = true;

  const objects = createPolicyObjects(
    () => void (isForeseen = false),
    (name) => reportNamespace(name),
  );
  const reportNamespace = (name: string): void =>
    index.putNamespace(name, objects.labelsOf(name) ?? described.get(name));
  const pods = createPodObjects({
    ...{ nodeName, index, holderOf: own.holderOf },
    onOwn(before, now) {
      isForeseen = false;
      if (before !== undefined && before.uid !== now?.uid) own.reportEnded(podIdentity(before), true);
      if (now !== undefined) own.reportEnded(podIdentity(now), false);
    },
  });

  /** Groups that pods of this node will need: they are ready when the pods open. */
  const foresee = (): readonly string[] => {
    isForeseen = true;
    return groups.foresee(groupsOfPods(objects, pods.own()));
  };
  const versionOf = (collection: 'nodes' | 'pods'): { readonly version?: string } => {
    const version = versions[collection];
    return version === undefined ? {} : { version };
  };
  const parts: { readonly [Part in keyof SavedParts]: () => SavedParts[Part] | undefined } = {
    policies() {
      const stored = objects.stored();
      return stored && { ...stored, versions: { ...versions } };
    },
    own() {
      const stored = pods.stored('own');
      return stored && { ...stored, ...versionOf('pods') };
    },
    nodes() {
      const stored = pods.stored('nodes');
      return stored && { ...stored, ...versionOf('nodes') };
    },
    pods() {
      const stored = pods.stored('pods');
      return stored && { ...stored, ...versionOf('pods') };
    },
  };
  const isSynced = (): boolean => pods.pods.came() && objects.came();

  const table: ClusterTable = {
    pods: pods.pods,
    namespaces: objects.namespaces,
    policies: objects.policies,
    clusterPolicies: objects.clusterPolicies,
    nodes: {
      ...pods.nodes,
      complete() {
        const wereKnown = pods.areNodesKnown();
        pods.nodes.complete();
        if (!wereKnown) groups.nodesCame();
      },
    },
    reached: (collection, version) => void (versions[collection] = version),
    begin({ groups: wanted, pods: ownPods, namespaces: written }) {
      const now = new Set(ownPods.map(([id]) => id));
      for (const id of own.ids()) if (!now.has(id)) own.put(id, undefined);
      for (const [id, pod, identity] of ownPods) own.put(id, pod, identity);
      table.putNamespaces(written);
      groups.begin(wanted);
      isWhole = true;
    },
    want: groups.want,
    drop: groups.drop,
    putPod: own.put,
    putNamespaces(written) {
      const before = described;
      described = new Map(written);
      for (const name of new Set([...before.keys(), ...described.keys()])) reportNamespace(name);
    },
    load(saved) {
      if (saved.policies !== undefined) objects.load(saved.policies);
      pods.load(saved);
    },
    saved(part) {
      const value = parts[part]();
      const revision = part === 'policies' ? objects.revision() : pods.revision(part);
      return value && { value, revision };
    },
    known: () => objects.isLoaded() || isSynced(),
    take() {
      pods.settle();
      const dropped = isForeseen ? [] : foresee();
      const taken = {
        ...{ whole: isWhole, dropped, ...objects.take(isWhole) },
        groups: groups.take(pods.areNodesKnown()),
        pods: pods.take(isWhole),
      };
      isWhole = false;
      return !taken.whole && isEmpty(taken) ? undefined : taken;
    },
    figures() {
      const { problems, ...sizes } = objects.figures();
      return {
        ...{ synced: isSynced(), ...sizes, ...index.size(), pods: pods.size() },
        problems: [...problems, ...index.problems(), ...pods.problems()].slice(0, mostProblems),
      };
    },
  };
  return table;
}

/** Returns the groups that the rules of these pods need, by their keys. */
function groupsOfPods(
  objects: Pick<PolicyObjects, 'current'>,
  pods: readonly ClusterPod[],
): ReadonlyMap<string, GroupDefinition> {
  const set = indexPolicies({ ...objects.current(), namespaces: new Map() });
  return new Map(pods.flatMap((pod) => groupsOf(set, pod).map((group) => [group.key, group] as const)));
}

const isEmpty = (changes: Omit<ClusterChanges, 'at' | 'whole'>): boolean =>
  [
    ...[changes.policies, changes.clusterPolicies, changes.namespaces],
    ...[changes.groups, changes.dropped, changes.pods],
  ].every((some) => some.length === 0);
