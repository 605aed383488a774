import { isDeepStrictEqual } from 'node:util';
import { createCollection } from '../../../base/kubernetes/index.ts';
import type { ListedCollection } from '../../../base/kubernetes/index.ts';
import { groupsOf, indexPolicies } from '../kubernetes/evaluate.ts';
import type { ClusterNetworkPolicy, ClusterPolicySet } from '../kubernetes/cluster-network-policy.ts';
import type { Labels, NetworkPolicy } from '../kubernetes/network-policy.ts';
import { createPeerIndex } from '../kubernetes/peer-index.ts';
import type { GroupChange, GroupDefinition, PeerPod } from '../kubernetes/peer-index.ts';
import { readClusterPolicy } from '../kubernetes/read-cluster-policy.ts';
import { readPolicyObject } from '../kubernetes/read.ts';
import type { ClusterChanges, ClusterFigures, OwnersState } from './messages.ts';
import { createNodeAddresses } from './node-addresses.ts';
import { createPodReader, readNamespace, readNode } from './objects.ts';
import type { ClusterNode, ClusterPod } from './objects.ts';
import { createOwnPods } from './own-pods.ts';
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
  /** Everything of a collection until this version has come. */
  reached(collection: Versioned, version: string): void;
  /** Forgets what the network's thread asked for, and takes what it knows now. */
  begin(state: OwnersState): void;
  want(definition: GroupDefinition): void;
  drop(key: string): void;
  putPod(id: string, pod: PeerPod | undefined, uid?: string): void;
  putNamespaces(namespaces: OwnersState['namespaces']): void;
  /** Takes a stored state, before anything else has come. */
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
  const pods = new Map<string, ClusterPod>();
  const policies = new Map<string, NetworkPolicy>();
  const problems = new Map<string, string>();
  /** By `/name`, as the API names an object without a namespace. */
  const namespaces = new Map<string, Labels>();
  let described: ReadonlyMap<string, Labels | 'unknown'> = new Map();
  const own = createOwnPods(index);
  const wanted = new Set<string>();
  let foreseen: ReadonlyMap<string, GroupDefinition> = new Map();
  const clusterPolicies = new Map<string, ClusterNetworkPolicy>();
  const dirty = {
    ...{ policies: new Set<string>(), pods: new Set<string>(), foreseen: false, nodes: false },
    ...{ clusterPolicies: new Set<string>(), namespaces: new Set<string>() },
  };
  /** Groups with nodes: they lack members as long as the nodes are not known. */
  const nodeGroups = new Map<string, GroupDefinition>();
  const revisions = { policies: 0, pods: 0, own: 0, nodes: 0 };
  const versions: Partial<Record<Versioned, string>> = {};
  const nodes = new Map<string, ClusterNode>();
  const nodeAddresses = createNodeAddresses();
  /** Pods with addresses that their nodes may not report. */
  const refused = new Set<string>();
  let loaded: Partial<SavedParts> = {};
  let isWhole = true;
  const readPod = createPodReader();

  const isOwn = (pod: ClusterPod | undefined): boolean => pod?.nodeName === nodeName && !pod.hostNetwork;

  function putPod(key: string, pod: ClusterPod | undefined): void {
    const before = pods.get(key);
    if (pod === undefined) pods.delete(key);
    else pods.set(key, pod);
    if (before === undefined && pod === undefined) return;
    revisions.pods += 1;
    if ([before, pod].some(isOwn) && !isDeepStrictEqual(before, pod)) revisions.own += 1;
    putAddresses(key, pod);
    for (const one of [before, pod])
      if (one !== undefined && isOwn(one)) {
        dirty.pods.add(one.uid);
        dirty.foreseen = true;
      }
    if (before !== undefined && isOwn(before) && before.uid !== pod?.uid) own.tellEnded(before.uid, true);
    if (pod !== undefined && isOwn(pod)) own.tellEnded(pod.uid, false);
  }

  function putAddresses(key: string, pod: ClusterPod | undefined): void {
    const admitted = pod && nodeAddresses.admitted(pod);
    if (admitted === pod) refused.delete(key);
    else refused.add(key);
    index.putPod(key, admitted);
  }

  function putNode(key: string, node: ClusterNode | undefined): void {
    const name = key.slice(1);
    if (!nodeAddresses.put(name, node)) return;
    if (node === undefined) nodes.delete(name);
    else nodes.set(name, node);
    revisions.nodes += 1;
    index.putPod(
      `node ${name}`,
      node && { namespace: '', labels: node.labels, addresses: node.addresses, namedPorts: [], isNode: true },
    );
    dirty.nodes = true;
  }

  /** After a change of nodes: any pod may have an address that its node may not report, or now may. */
  function admitAll(): void {
    dirty.nodes = false;
    nodeAddresses.settle();
    for (const [key, pod] of pods)
      if (refused.has(key) || nodeAddresses.admitted(pod) !== pod) putAddresses(key, pod);
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

  function putClusterPolicy(key: string, read: ReturnType<typeof readClusterPolicy>): void {
    const name = key.slice(1);
    if (read === undefined && !clusterPolicies.has(name)) return;
    if (read === undefined) clusterPolicies.delete(name);
    else clusterPolicies.set(name, read.policy);
    if (read?.problem === undefined) problems.delete(key);
    else problems.set(key, read.problem);
    revisions.policies += 1;
    dirty.clusterPolicies.add(name);
    dirty.foreseen = true;
  }

  const tellNamespace = (name: string): void =>
    index.putNamespace(name, namespaces.get(`/${name}`) ?? described.get(name));

  function putNamespace(key: string, labels: Labels | undefined): void {
    if (labels === undefined) namespaces.delete(key);
    else namespaces.set(key, labels);
    revisions.policies += 1;
    dirty.namespaces.add(key.slice(1));
    dirty.foreseen ||= clusterPolicies.size > 0;
    tellNamespace(key.slice(1));
  }

  /** Groups that pods of this node will need: they are ready when the pods open. */
  function foresee(): string[] {
    dirty.foreseen = false;
    const cluster = { policies: [...clusterPolicies.values()], namespaces: labelsByName() };
    const next = groupsOfPods(policies.values(), cluster, [...pods.values()].filter(isOwn));
    for (const [key, group] of next) if (!foreseen.has(key) && !wanted.has(key)) addGroup(group);
    const gone = [...foreseen.keys()].filter((key) => !next.has(key));
    foreseen = next;
    const dropped = gone.filter((key) => !wanted.has(key));
    for (const key of dropped) removeGroup(key);
    return dropped;
  }

  function addGroup(group: GroupDefinition): void {
    if (group.peers?.some((peer) => 'nodes' in peer) === true) nodeGroups.set(group.key, group);
    index.addGroup(group);
  }
  function removeGroup(key: string): void {
    nodeGroups.delete(key);
    index.removeGroup(key);
  }
  const labelsByName = (): ReadonlyMap<string, Labels> =>
    new Map([...namespaces].map(([key, labels]) => [key.slice(1), labels]));

  const ofPods = createCollection(readPod, () => pods.keys(), putPod);
  const ofNamespaces = createCollection(readNamespace, () => namespaces.keys(), putNamespace);
  const ofPolicies = createCollection(readPolicyObject, () => policies.keys(), putPolicy);
  const ofNodes = createCollection(readNode, () => [...nodes.keys()].map((name) => `/${name}`), putNode);
  const ofClusterPolicies = createCollection(
    readClusterPolicy,
    () => [...clusterPolicies.keys()].map((name) => `/${name}`),
    putClusterPolicy,
  );
  const isSynced = (): boolean =>
    [ofPods, ofNamespaces, ofPolicies, ofClusterPolicies].every((collection) => collection.came());
  const areNodesKnown = (): boolean => loaded.nodes !== undefined || ofNodes.came();
  const areClusterPoliciesKnown = (): boolean =>
    loaded.policies?.clusterPolicies !== undefined || ofClusterPolicies.came();

  const parts: { readonly [Part in keyof SavedParts]: () => SavedParts[Part] | undefined } = {
    policies: () =>
      loaded.policies !== undefined || ofPolicies.came()
        ? {
            ...{ policies: [...policies], namespaces: [...namespaces], versions: { ...versions } },
            ...(areClusterPoliciesKnown() && { clusterPolicies: [...clusterPolicies.values()] }),
          }
        : undefined,
    own: () =>
      loaded.pods !== undefined || ofPods.came()
        ? { pods: [...pods].filter(([, pod]) => isOwn(pod)), ...versionOf('pods') }
        : undefined,
    nodes: () => (areNodesKnown() ? { nodes: [...nodes], ...versionOf('nodes') } : undefined),
    pods: () =>
      loaded.pods !== undefined || ofPods.came() ? { pods: [...pods], ...versionOf('pods') } : undefined,
  };
  const versionOf = (collection: Versioned): { readonly version?: string } =>
    versions[collection] === undefined ? {} : { version: versions[collection] };

  const table: ClusterTable = {
    pods: ofPods,
    namespaces: ofNamespaces,
    policies: ofPolicies,
    nodes: {
      ...ofNodes,
      complete() {
        ofNodes.complete();
        // They have all of their nodes now.
        for (const group of nodeGroups.values()) index.addGroup(group);
      },
    },
    clusterPolicies: ofClusterPolicies,
    reached: (collection, version) => void (versions[collection] = version),
    begin({ groups, pods: ownPods, namespaces: written }) {
      for (const key of wanted) if (!groups.some((group) => group.key === key)) table.drop(key);
      const now = new Set(ownPods.map(([id]) => id));
      for (const id of own.ids()) if (!now.has(id)) own.put(id, undefined);
      for (const [id, pod, uid] of ownPods) own.put(id, pod, uid);
      table.putNamespaces(written);
      for (const group of [...foreseen.values(), ...groups]) addGroup(group);
      for (const { key } of groups) wanted.add(key);
      isWhole = true;
    },
    want(definition) {
      wanted.add(definition.key);
      addGroup(definition);
    },
    drop(key) {
      wanted.delete(key);
      if (!foreseen.has(key)) removeGroup(key);
    },
    putPod: own.put,
    putNamespaces(written) {
      const before = described;
      described = new Map(written);
      for (const name of new Set([...before.keys(), ...described.keys()])) tellNamespace(name);
    },
    load(saved) {
      loaded = saved;
      for (const [name, node] of saved.nodes?.nodes ?? []) putNode(`/${name}`, node);
      for (const [key, labels] of saved.policies?.namespaces ?? []) putNamespace(key, labels);
      for (const [key, policy] of saved.policies?.policies ?? []) putPolicy(key, { policy });
      for (const policy of saved.policies?.clusterPolicies ?? [])
        putClusterPolicy(`/${policy.name}`, problemKept(policy));
      for (const [key, pod] of saved.pods?.pods ?? [])
        if (saved.own === undefined || !isOwn(pod)) putPod(key, pod);
      // Stored before they were in force, and so never older than all pods.
      for (const [key, pod] of saved.own?.pods ?? []) putPod(key, pod);
    },
    saved(part) {
      const value = parts[part]();
      return value && { value, revision: revisions[part] };
    },
    known: () => (loaded.policies !== undefined && areClusterPoliciesKnown()) || isSynced(),
    take() {
      if (dirty.nodes) admitAll();
      const dropped = dirty.foreseen ? foresee() : [];
      const policyKeys = isWhole ? policies.keys() : dirty.policies;
      const ownPods = new Map([...pods.values()].filter(isOwn).map((pod) => [pod.uid, pod]));
      const uids = isWhole ? ownPods.keys() : dirty.pods;
      const taken = {
        whole: isWhole,
        policies: [...policyKeys].map((key) => [key, policies.get(key)] as const),
        clusterPolicies: [...(isWhole ? clusterPolicies.keys() : dirty.clusterPolicies)].map(
          (name) => [name, clusterPolicies.get(name)] as const,
        ),
        namespaces: [...(isWhole ? labelsByName().keys() : dirty.namespaces)].map(
          (name) => [name, namespaces.get(`/${name}`)] as const,
        ),
        groups: index
          .take()
          .map((change): GroupChange =>
            nodeGroups.has(change.key) && !areNodesKnown() ? { ...change, lacking: true } : change,
          ),
        dropped,
        pods: [...uids].map((uid) => [uid, descriptionOf(ownPods.get(uid))] as const),
      };
      const isNothing = !taken.whole && isEmpty(taken);
      dirty.policies.clear();
      dirty.clusterPolicies.clear();
      dirty.namespaces.clear();
      dirty.pods.clear();
      isWhole = false;
      return isNothing ? undefined : taken;
    },
    figures: () => ({
      synced: isSynced(),
      policies: policies.size,
      clusterPolicies: clusterPolicies.size,
      namespaces: namespaces.size,
      ...index.size(),
      pods: pods.size,
      problems: [
        ...problems.values(),
        ...index.problems(),
        ...[...refused].slice(0, mostProblems).map(foreignAddress),
      ].slice(0, mostProblems),
    }),
  };
  return table;
}

/** Returns the groups that the rules of these pods need, by their keys. */
function groupsOfPods(
  policies: Iterable<NetworkPolicy>,
  cluster: ClusterPolicySet,
  pods: readonly ClusterPod[],
): ReadonlyMap<string, GroupDefinition> {
  const set = indexPolicies({ policies: [...policies], namespaces: new Map(), cluster });
  return new Map(pods.flatMap((pod) => groupsOf(set, pod).map((group) => [group.key, group] as const)));
}

const foreignAddress = (key: string): string =>
  `the pod ${key} reports an address that is not its node's: it is no peer with this address; check spec.podCIDRs and status.addresses of the Node objects`;

const isEmpty = (changes: Omit<ClusterChanges, 'at' | 'whole'>): boolean =>
  [
    ...[changes.policies, changes.clusterPolicies, changes.namespaces],
    ...[changes.groups, changes.dropped, changes.pods],
  ].every((some) => some.length === 0);

/** A stored policy, with what was not understood of it. */
const problemKept = (policy: ClusterNetworkPolicy): NonNullable<ReturnType<typeof readClusterPolicy>> => ({
  policy,
  ...(policy.unreadable !== undefined && { problem: policy.unreadable }),
});

const descriptionOf = (pod: ClusterPod | undefined): Pick<ClusterPod, 'labels' | 'namedPorts'> | undefined =>
  pod === undefined ? undefined : { labels: pod.labels, namedPorts: pod.namedPorts };
