import { nameOf } from '../../../base/kubernetes/index.ts';
import type { Collection } from '../../../base/kubernetes/index.ts';
import { hostAddresses, nodePortAddresses } from './node-port-addresses.ts';
import { readNode } from './node.ts';
import type { NodeFacts } from './node.ts';

/** The location of this node, according to the Node object and the host. */
export interface NodePlace {
  readonly collection: Collection;
  zone(): string | undefined;
  /** The addresses of the Node object, at most one of a family. */
  addresses(): readonly string[];
  /** The prefixes of the pods of this node. */
  podRanges(): readonly string[];
  /** Undefined: node ports are served at every address of the host. */
  nodePortAddresses(): readonly string[] | undefined;
  /** Whether load balancers may send the node connections. */
  isEligible(): boolean;
  /** Whether the Node object was listed, or cannot be listed. If it was, the first delivery uses it. */
  isSettled(): boolean;
  /** Reports that the Node object cannot be read: services are served without it. */
  settle(): void;
  close(): void;
}

export interface NodePlaceOptions {
  readonly nodeName: string;
  /** `primary` alone, or prefixes. Absent: every address of the host. */
  readonly asked: readonly string[] | undefined;
  /** Called when zone or addresses differ, and when it is settled. @param differs services are affected */
  readonly changed: (differs: boolean) => void;
}

/** How often to check which addresses this host has. */
const lookMs = 5000;

export function createNodePlace({ nodeName, asked, changed }: NodePlaceOptions): NodePlace {
  let node: NodeFacts | undefined;
  let isListed = false;
  let isSettled = false;
  const addresses = (): readonly string[] | undefined =>
    asked && nodePortAddresses(asked, node?.addresses ?? [], hostAddresses());
  let places = addresses();
  const factsOf = (now: NodeFacts | undefined): string =>
    JSON.stringify([places, now?.zone, now?.addresses ?? [], now?.podRanges ?? []]);
  let seen = factsOf(undefined);

  const look = (): void => {
    places = addresses();
    const now = factsOf(node);
    if (now === seen) return;
    seen = now;
    changed(true);
  };
  const settle = (): void => {
    look();
    if (isSettled) return;
    isSettled = true;
    changed(false);
  };
  const isOwn = (object: unknown): boolean => nameOf(object)?.split('/').at(-1) === nodeName;
  const put = (object: unknown): void => {
    if (!isOwn(object)) return;
    isListed = true;
    node = readNode(object);
    look();
  };
  const looking = setInterval(look, lookMs);
  looking.unref();

  return {
    zone: () => node?.zone,
    addresses: () => node?.addresses ?? [],
    podRanges: () => node?.podRanges ?? [],
    nodePortAddresses: () => places,
    isEligible: () => node?.isLeaving !== true,
    isSettled: () => isSettled,
    settle,
    close: () => clearInterval(looking),
    collection: {
      begin: () => void (isListed = false),
      listed: put,
      complete() {
        if (!isListed) node = undefined;
        settle();
      },
      changed: put,
      removed(object) {
        if (!isOwn(object)) return;
        node = undefined;
        look();
      },
    },
  };
}
