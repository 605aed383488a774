import { createCollection } from '../../../base/kubernetes/index.ts';
import type { ListedCollection } from '../../../base/kubernetes/index.ts';
import { groupsOf, indexPolicies } from '../kubernetes/evaluate.ts';
import type { Labels, NetworkPolicy } from '../kubernetes/network-policy.ts';
import { createPeerIndex } from '../kubernetes/peer-index.ts';
import type { GroupDefinition, PeerIndex, PeerPod } from '../kubernetes/peer-index.ts';
import { readPolicyObject } from '../kubernetes/read.ts';
import type { ClusterChanges, ClusterFigures, OwnersState } from './messages.ts';
import { createPodReader, readNamespace } from './objects.ts';
import type { ClusterPod } from './objects.ts';

/**
 * Pods, namespaces and policies as the API last sent them, the groups of peers among them, and what of their
 * changes was not taken yet. No side effects.
 */
export interface ClusterTable {
  readonly pods: ListedCollection;
  readonly namespaces: ListedCollection;
  readonly policies: ListedCollection;
  /** Forgets what the network's thread asked for, and takes what it knows now. */
  begin(state: OwnersState): void;
  want(definition: GroupDefinition): void;
  drop(key: string): void;
  putPod(id: string, pod: PeerPod | undefined, uid?: string): void;
  putNamespaces(namespaces: OwnersState['namespaces']): void;
  /** Takes a stored state, before anything else has come. */
  load(saved: SavedPolicies, pods: SavedPods): void;
  /** Returns the state to store. `revision` changes with it. */
  saved(): { readonly policies: SavedPolicies; readonly revision: number };
  savedPods(): { readonly pods: SavedPods; readonly revision: number };
  /** Whether the policies of the cluster are known: from the API, or as they were stored last. */
  known(): boolean;
  /** Returns what changed since the last call; undefined: nothing. */
  take(): Omit<ClusterChanges, 'at'> | undefined;
  figures(): Pick<
    ClusterFigures,
    'groups' | 'members' | 'namespaces' | 'pods' | 'policies' | 'problems' | 'synced'
  >;
}

export interface SavedPolicies {
  readonly policies: readonly (readonly [key: string, policy: NetworkPolicy])[];
  readonly namespaces: readonly (readonly [key: string, labels: Labels])[];
}
export type SavedPods = readonly (readonly [key: string, pod: ClusterPod])[];

/** Number of problems that are reported: a reader corrects the first ones first. */
const mostProblems = 100;

export function createClusterTable(nodeName: string): ClusterTable {
  const index = createPeerIndex({ absentIsBare: false });
  const pods = new Map<string, ClusterPod>();
  const policies = new Map<string, NetworkPolicy>();
  const problems = new Map<string, string>();
  /** By `/name`, as the API names an object without a namespace. */
  const namespaces = new Map<string, Labels>();
  let described: ReadonlyMap<string, Labels | 'unknown'> = new Map();
  const own = createOwnPods(index);
  const wanted = new Set<string>();
  let foreseen: ReadonlyMap<string, GroupDefinition> = new Map();
  const dirty = { policies: new Set<string>(), pods: new Set<string>(), foreseen: false };
  const revisions = { policies: 0, pods: 0 };
  let isLoaded = false;
  let isWhole = true;
  const readPod = createPodReader();

  const isOwn = (pod: ClusterPod | undefined): boolean => pod?.nodeName === nodeName && !pod.hostNetwork;

  function putPod(key: string, pod: ClusterPod | undefined): void {
    const before = pods.get(key);
    if (pod === undefined) pods.delete(key);
    else pods.set(key, pod);
    if (before === undefined && pod === undefined) return;
    revisions.pods += 1;
    index.putPod(key, pod);
    for (const one of [before, pod])
      if (one !== undefined && isOwn(one)) {
        dirty.pods.add(one.uid);
        dirty.foreseen = true;
      }
    if (before !== undefined && isOwn(before) && before.uid !== pod?.uid) own.tellEnded(before.uid, true);
    if (pod !== undefined && isOwn(pod)) own.tellEnded(pod.uid, false);
  }

  function putPolicy(key: string, read: ReturnType<typeof readPolicyObject>): void {
    if (read === undefined && !policies.has(key)) return;
    if (read === undefined) policies.delete(key);
    else policies.set(key, read.policy);
    if (read?.problem === undefined) problems.delete(key);
    else problems.set(key, read.problem);
    revisions.policies += 1;
    dirty.policies.add(key);
    dirty.foreseen = true;
  }

  const tellNamespace = (name: string): void =>
    index.putNamespace(name, namespaces.get(`/${name}`) ?? described.get(name));

  function putNamespace(key: string, labels: Labels | undefined): void {
    if (labels === undefined) namespaces.delete(key);
    else namespaces.set(key, labels);
    revisions.policies += 1;
    tellNamespace(key.slice(1));
  }

  /** Groups that pods of this node will need: they are ready when the pods open. */
  function foresee(): string[] {
    dirty.foreseen = false;
    const next = groupsOfPods(policies.values(), [...pods.values()].filter(isOwn));
    for (const [key, group] of next) if (!foreseen.has(key) && !wanted.has(key)) index.addGroup(group);
    const gone = [...foreseen.keys()].filter((key) => !next.has(key));
    foreseen = next;
    const dropped = gone.filter((key) => !wanted.has(key));
    for (const key of dropped) index.removeGroup(key);
    return dropped;
  }

  const ofPods = createCollection(readPod, () => pods.keys(), putPod);
  const ofNamespaces = createCollection(readNamespace, () => namespaces.keys(), putNamespace);
  const ofPolicies = createCollection(readPolicyObject, () => policies.keys(), putPolicy);
  const isSynced = (): boolean => ofPods.came() && ofNamespaces.came() && ofPolicies.came();

  const table: ClusterTable = {
    pods: ofPods,
    namespaces: ofNamespaces,
    policies: ofPolicies,
    begin({ groups, pods: ownPods, namespaces: written }) {
      for (const key of wanted) if (!groups.some((group) => group.key === key)) table.drop(key);
      const now = new Set(ownPods.map(([id]) => id));
      for (const id of own.ids()) if (!now.has(id)) own.put(id, undefined);
      for (const [id, pod, uid] of ownPods) own.put(id, pod, uid);
      table.putNamespaces(written);
      for (const group of [...foreseen.values(), ...groups]) index.addGroup(group);
      for (const { key } of groups) wanted.add(key);
      isWhole = true;
    },
    want(definition) {
      wanted.add(definition.key);
      index.addGroup(definition);
    },
    drop(key) {
      wanted.delete(key);
      if (!foreseen.has(key)) index.removeGroup(key);
    },
    putPod: own.put,
    putNamespaces(written) {
      const before = described;
      described = new Map(written);
      for (const name of new Set([...before.keys(), ...described.keys()])) tellNamespace(name);
    },
    load(saved, savedPods) {
      for (const [key, labels] of saved.namespaces) putNamespace(key, labels);
      for (const [key, policy] of saved.policies) putPolicy(key, { policy });
      for (const [key, pod] of savedPods) putPod(key, pod);
      isLoaded = true;
    },
    saved: () => ({ policies: savedOf(policies, namespaces), revision: revisions.policies }),
    savedPods: () => ({ pods: [...pods], revision: revisions.pods }),
    known: () => isLoaded || isSynced(),
    take() {
      const dropped = dirty.foreseen ? foresee() : [];
      const policyKeys = isWhole ? policies.keys() : dirty.policies;
      const ownPods = new Map([...pods.values()].filter(isOwn).map((pod) => [pod.uid, pod]));
      const uids = isWhole ? ownPods.keys() : dirty.pods;
      const taken = {
        whole: isWhole,
        policies: [...policyKeys].map((key) => [key, policies.get(key)] as const),
        groups: index.take(),
        dropped,
        pods: [...uids].map((uid) => [uid, descriptionOf(ownPods.get(uid))] as const),
      };
      const isNothing = !taken.whole && isEmpty(taken);
      dirty.policies.clear();
      dirty.pods.clear();
      isWhole = false;
      return isNothing ? undefined : taken;
    },
    figures: () => ({
      synced: isSynced(),
      policies: policies.size,
      namespaces: namespaces.size,
      ...index.size(),
      pods: pods.size,
      problems: [...problems.values(), ...index.problems()].slice(0, mostProblems),
    }),
  };
  return table;
}

/** Returns the groups that the rules of these pods need, by their keys. */
function groupsOfPods(
  policies: Iterable<NetworkPolicy>,
  pods: readonly ClusterPod[],
): ReadonlyMap<string, GroupDefinition> {
  const set = indexPolicies({ policies: [...policies], namespaces: new Map() });
  return new Map(pods.flatMap((pod) => groupsOf(set, pod).map((group) => [group.key, group] as const)));
}

const savedOf = (
  policies: ReadonlyMap<string, NetworkPolicy>,
  namespaces: ReadonlyMap<string, Labels>,
): SavedPolicies => ({ policies: [...policies], namespaces: [...namespaces] });

const isEmpty = ({ policies, groups, dropped, pods }: Omit<ClusterChanges, 'at'>): boolean =>
  policies.length + groups.length + dropped.length + pods.length === 0;

const descriptionOf = (pod: ClusterPod | undefined): Pick<ClusterPod, 'labels' | 'namedPorts'> | undefined =>
  pod === undefined ? undefined : { labels: pod.labels, namedPorts: pod.namedPorts };

/** Pods of this node as the network's thread knows them, earlier than the API does. */
interface OwnPods {
  ids(): readonly string[];
  put(id: string, pod: PeerPod | undefined, uid?: string): void;
  /** The API reported that the pod ended or is gone: its addresses do not count any more. */
  tellEnded(uid: string, isEnded: boolean): void;
}

function createOwnPods(index: Pick<PeerIndex, 'putPod'>): OwnPods {
  const own = new Map<string, { readonly pod: PeerPod; readonly uid?: string }>();
  const ended = new Set<string>();
  const tell = (id: string): void => {
    const one = own.get(id);
    const counts = one !== undefined && (one.uid === undefined || !ended.has(one.uid));
    index.putPod(`own ${id}`, counts ? one.pod : undefined);
  };
  return {
    ids: () => [...own.keys()],
    put(id, pod, uid) {
      if (pod === undefined) {
        const gone = own.get(id)?.uid;
        own.delete(id);
        if (gone !== undefined && ![...own.values()].some((one) => one.uid === gone)) ended.delete(gone);
      } else own.set(id, { pod, ...(uid !== undefined && { uid }) });
      tell(id);
    },
    tellEnded(uid, isEnded) {
      if (ended.has(uid) === isEnded || ![...own.values()].some((one) => one.uid === uid)) return;
      if (isEnded) ended.add(uid);
      else ended.delete(uid);
      for (const [id, one] of own) if (one.uid === uid) tell(id);
    },
  };
}
