import { isDeepStrictEqual } from 'node:util';
import { createCollection } from '../../../base/kubernetes/index.ts';
import type { ListedCollection } from '../../../base/kubernetes/index.ts';
import { podIdentity } from '../kubernetes/policies.ts';
import type { PodDescription } from '../kubernetes/policies.ts';
import type { PeerIndex } from '../kubernetes/peer-index.ts';
import type { ClusterChanges } from './messages.ts';
import { createNodeAddresses } from './node-addresses.ts';
import { createPodReader, mostLabels, mostNamedPorts, readNode, withinLimits } from './objects.ts';
import type { ClusterNode, ClusterPod } from './objects.ts';
import type { SavedParts } from './saved-parts.ts';

type PodPart = 'nodes' | 'own' | 'pods';

/** Pods and nodes, as peers and as pods of this node. Changes the index alone. */
export interface PodObjects {
  readonly pods: ListedCollection;
  readonly nodes: ListedCollection;
  load(saved: Partial<Pick<SavedParts, PodPart>>): void;
  /** Undefined: it is not known. */
  stored<Part extends PodPart>(part: Part): SavedParts[Part] | undefined;
  revision(part: PodPart): number;
  /** Pods of this node with addresses of their own. */
  own(): readonly ClusterPod[];
  areNodesKnown(): boolean;
  /** Applies changes of nodes to the addresses of pods. */
  settle(): void;
  /** Applies that other pods may have these addresses on this node now. */
  heldOtherwise(addresses: readonly string[]): void;
  /** @param isWhole returns all own pods, and otherwise those that changed since the last call */
  take(isWhole: boolean): ClusterChanges['pods'];
  size(): number;
  problems(): readonly string[];
}

export interface PodObjectsOptions {
  readonly nodeName: string;
  readonly index: Pick<PeerIndex, 'putPod'>;
  /** Returns the identity of the pod that has the address on this node; undefined: none is known. */
  readonly holderOf: (address: string) => string | undefined;
  /** Called after a pod of this node changed; undefined: the pod does not exist. */
  readonly onOwn: (before: ClusterPod | undefined, now: ClusterPod | undefined) => void;
}

/** Number of problems that are reported: a reader corrects the first ones first. */
const mostProblems = 100;

export function createPodObjects({ nodeName, index, holderOf, onOwn }: PodObjectsOptions): PodObjects {
  const pods = new Map<string, ClusterPod>();
  const nodes = new Map<string, ClusterNode>();
  const addresses = createNodeAddresses();
  /** Pods with addresses that their nodes may not report. */
  const refused = new Set<string>();
  /** Pods with more labels or named ports than the limits allow. */
  const excessive = new Set<string>();
  const changed = new Set<string>();
  /** The keys of own pods. */
  const ownKeys = new Set<string>();
  const revisions = { nodes: 0, own: 0, pods: 0 };
  let areNodesOther = false;
  /** Until the nodes are known, nobody can say which addresses a node may report: none of them counts. */
  let areAddressesOpen = false;
  let loaded: Partial<Pick<SavedParts, PodPart>> = {};

  const isOwn = (pod: ClusterPod | undefined): pod is ClusterPod =>
    pod?.nodeName === nodeName && !pod.hostNetwork;
  const ownOf = (pod: ClusterPod | undefined): ClusterPod | undefined => (isOwn(pod) ? pod : undefined);

  function putPod(key: string, pod: ClusterPod | undefined): void {
    const before = pods.get(key);
    if (before === undefined && pod === undefined) return;
    if (pod === undefined) pods.delete(key);
    else pods.set(key, pod);
    if (isOwn(pod)) ownKeys.add(key);
    else ownKeys.delete(key);
    if (pod?.labelsUnknown === true) excessive.add(key);
    else excessive.delete(key);
    revisions.pods += 1;
    putAddresses(key, pod);
    const [was, is] = [ownOf(before), ownOf(pod)];
    for (const one of [was, is]) if (one !== undefined) changed.add(podIdentity(one));
    if (!isDeepStrictEqual(was, is)) revisions.own += 1;
    if (was !== undefined || is !== undefined) onOwn(was, is);
  }

  function putAddresses(key: string, pod: ClusterPod | undefined): void {
    if (pod !== undefined && !areAddressesOpen) {
      index.putPod(key, { ...pod, addresses: [] });
      return;
    }
    const admitted = pod && addresses.admitted(pod);
    if (admitted === pod) refused.delete(key);
    else refused.add(key);
    index.putPod(key, isOwn(admitted) ? withoutReused(admitted, holderOf) : admitted);
  }

  function putNode(key: string, node: ClusterNode | undefined): void {
    const name = key.slice(1);
    if (!addresses.put(name, node)) return;
    if (node === undefined) nodes.delete(name);
    else nodes.set(name, node);
    revisions.nodes += 1;
    areNodesOther = true;
    index.putPod(
      `node ${name}`,
      node && { namespace: '', labels: node.labels, addresses: node.addresses, namedPorts: [], isNode: true },
    );
  }

  const ofPods = createCollection(createPodReader(), () => pods.keys(), putPod);
  const ofNodes = createCollection(readNode, () => [...nodes.keys()].map((name) => `/${name}`), putNode);
  const arePodsKnown = (): boolean => loaded.pods !== undefined || ofPods.came();
  const areNodesKnown = (): boolean => loaded.nodes !== undefined || ofNodes.came();
  const parts: { readonly [Part in PodPart]: () => SavedParts[Part] | undefined } = {
    nodes: () => (areNodesKnown() ? { nodes: [...nodes] } : undefined),
    own: () => (arePodsKnown() ? { pods: [...pods].filter(([, pod]) => isOwn(pod)) } : undefined),
    pods: () => (arePodsKnown() ? { pods: [...pods] } : undefined),
  };

  return {
    pods: ofPods,
    nodes: ofNodes,
    load(saved) {
      loaded = saved;
      for (const [name, node] of saved.nodes?.nodes ?? []) putNode(`/${name}`, node);
      for (const [key, pod] of saved.pods?.pods ?? [])
        if (saved.own === undefined || !isOwn(pod)) putPod(key, withinLimits(pod));
      // Stored before they were in force, and so never older than all pods.
      for (const [key, pod] of saved.own?.pods ?? []) putPod(key, withinLimits(pod));
    },
    stored: (part) => parts[part](),
    revision: (part) => revisions[part],
    own: () => [...pods.values()].filter(isOwn),
    areNodesKnown,
    settle() {
      const opens = !areAddressesOpen && areNodesKnown();
      if (!areNodesOther && !opens) return;
      areNodesOther = false;
      addresses.settle();
      areAddressesOpen ||= opens;
      if (!areAddressesOpen) return;
      // The change may affect any pod: whether its node may report its address.
      for (const [key, pod] of pods)
        if (opens || refused.has(key) || addresses.admitted(pod) !== pod) putAddresses(key, pod);
    },
    heldOtherwise(addresses) {
      for (const key of ownKeys) {
        const pod = pods.get(key);
        if (pod?.addresses.some((address) => addresses.includes(address)) === true) putAddresses(key, pod);
      }
    },
    take(isWhole) {
      const own = new Map([...pods.values()].filter(isOwn).map((pod) => [podIdentity(pod), pod]));
      const identities = [...(isWhole ? own.keys() : changed)];
      changed.clear();
      return identities.map((one) => [one, descriptionOf(own.get(one))] as const);
    },
    size: () => pods.size,
    problems: () => [
      ...[...refused].slice(0, mostProblems).map(foreignAddress),
      ...[...excessive].slice(0, mostProblems).map(tooManyLabels),
    ],
  };
}

/**
 * The API lists a pod of this node until its removal is confirmed. If another pod has its address on the node
 * already, the node's own record counts: the address must not have what policies grant to both.
 */
function withoutReused(pod: ClusterPod, holderOf: PodObjectsOptions['holderOf']): ClusterPod {
  const identity = podIdentity(pod);
  const addresses = pod.addresses.filter((address) => (holderOf(address) ?? identity) === identity);
  return addresses.length === pod.addresses.length ? pod : { ...pod, addresses };
}

function descriptionOf(pod: ClusterPod | undefined): PodDescription | undefined {
  if (pod === undefined) return undefined;
  const { labels, namedPorts, labelsUnknown } = pod;
  return { labels, namedPorts, ...(labelsUnknown === true && { labelsUnknown }) };
}

const foreignAddress = (key: string): string =>
  `the pod ${key} reports an address that does not belong to its node, so rules about peers ignore this address; check spec.podCIDRs and status.addresses of the Node objects`;

const tooManyLabels = (key: string): string =>
  `the pod ${key} has more than ${mostLabels} labels or ${mostNamedPorts} named ports, so its labels count as unknown: rules that allow by labels of pods do not select it, and it is isolated where policies may select it; remove labels or names of ports`;
