import { contains, networkOf, parsePrefix } from '../../base/addresses/index.ts';
import type { IpFamily, IpPrefix } from '../../base/addresses/index.ts';
import type { ClusterNode } from './nodes.ts';
import { createPrefixSet } from './prefix-set.ts';
import { prefixText } from './settings.ts';

/**
 * Which node owns which pod subnet. Pure. A Node object can hold anything: a node that registers itself
 * writes its own, and the API server checks only the form of its subnets. A node therefore gets only what is
 * in the ranges of the configuration, is no larger than this node's own subnet, and belongs to no node that
 * is older. Only the API server sets the time of a Node object's creation, and a node cannot delete one.
 */
export interface Claims {
  /** Accepted subnets by the name of the node. */
  readonly subnets: ReadonlyMap<string, readonly IpPrefix[]>;
  readonly refused: readonly RefusedNode[];
}

export interface RefusedNode {
  readonly node: string;
  /** The subnet or address that is refused. */
  readonly what: string;
  readonly why: string;
}

export interface ClaimRules {
  readonly ranges: readonly IpPrefix[];
  /** Subnets that belong to this node, whatever any Node object says. */
  readonly held: readonly IpPrefix[];
  /** Subnets that this node is to have, if it holds none yet. Others have none that are larger. */
  readonly wanted: readonly IpPrefix[];
  readonly nodeName: string;
}

/** Reads the subnets of one node. A problem is a reason why one of them is not valid. */
export function readSubnets(
  subnets: readonly string[],
  ranges: readonly IpPrefix[],
): { readonly valid: readonly IpPrefix[]; readonly problems: readonly Omit<RefusedNode, 'node'>[] } {
  const valid: IpPrefix[] = [];
  const problems: Omit<RefusedNode, 'node'>[] = [];
  for (const what of subnets) {
    const subnet = parsePrefix(what);
    const why = subnet === undefined ? 'it is not a prefix' : problemOf(subnet, valid, ranges);
    if (why !== undefined) problems.push({ what, why });
    else if (subnet !== undefined) valid.push(subnet);
  }
  return { valid, problems };
}

function problemOf(
  subnet: IpPrefix,
  before: readonly IpPrefix[],
  ranges: readonly IpPrefix[],
): string | undefined {
  const { family } = subnet.address;
  if (networkOf(subnet).value !== subnet.address.value) return 'it has bits set beyond its prefix length';
  if (!ranges.some((range) => range.length <= subnet.length && contains(range, subnet.address)))
    return 'it is not in network.pods.ranges';
  // An address for the node, and one for a pod.
  if (subnet.length > (family === 4 ? 30 : 126)) return 'it has no room for pods';
  if (before.some(({ address }) => address.family === family)) return 'it is the second one of its family';
  return undefined;
}

/** Decides for all nodes. The effort is linear in their number. */
export function readClaims(
  nodes: Iterable<ClusterNode>,
  { ranges, held, wanted, nodeName }: ClaimRules,
): Claims {
  const own = held.length > 0 ? held : wanted;
  const largest = new Map<IpFamily, number>(own.map(({ address, length }) => [address.family, length]));
  const taken = createPrefixSet(ranges);
  for (const prefix of held) taken.add(prefix, nodeName);
  const subnets = new Map<string, IpPrefix[]>();
  const refused: RefusedNode[] = [];
  for (const node of [...nodes].toSorted(byAge)) {
    const { valid, problems } = readSubnets(node.subnets, ranges);
    for (const problem of problems) refused.push({ node: node.name, ...problem });
    for (const subnet of valid) {
      const why = conflictOf(node, subnet, { taken, largest, nodeName });
      if (why === 'same') continue;
      if (why !== undefined) refused.push({ node: node.name, what: prefixText(subnet), why });
      else {
        taken.add(subnet, node.name);
        const accepted = subnets.get(node.name);
        if (accepted === undefined) subnets.set(node.name, [subnet]);
        else accepted.push(subnet);
      }
    }
  }
  return { subnets, refused };
}

/** @returns `same` for a subnet of this node that it holds already */
function conflictOf(
  { name }: ClusterNode,
  subnet: IpPrefix,
  against: {
    readonly taken: ReturnType<typeof createPrefixSet>;
    readonly largest: ReadonlyMap<IpFamily, number>;
    readonly nodeName: string;
  },
): string | undefined {
  const owner = against.taken.overlapping(subnet);
  if (owner === name) return name === against.nodeName ? 'same' : 'it overlaps another one of this node';
  if (owner !== undefined) return `it overlaps a subnet of the node ${owner}, which is older`;
  if (name === against.nodeName) return undefined;
  const length = against.largest.get(subnet.address.family);
  if (length === undefined) return 'this node has no pods of its family';
  return subnet.length < length ? `it is larger than a /${length}, the subnet of this node` : undefined;
}

/** The UID decides between nodes of one second: whoever creates a node chooses its name. */
const byAge = (a: ClusterNode, b: ClusterNode): number =>
  compare(a.created, b.created) || compare(a.uid, b.uid);

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
