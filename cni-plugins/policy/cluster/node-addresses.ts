import { isDeepStrictEqual } from 'node:util';
import { bitsOf, parseIp, parsePrefix } from '../../../base/addresses/index.ts';
import type { IpAddress, IpFamily } from '../../../base/addresses/index.ts';
import type { ClusterNode, ClusterPod } from './objects.ts';

/**
 * Which addresses a node may report for its pods. A node writes the status of its pods, and of its own Node
 * object: a compromised one could give the address of another node's pod to a pod of its own, and so what
 * selectors grant to that pod. NodeRestriction keeps it from other Node objects alone.
 */
export interface NodeAddresses {
  /** @param node undefined: it is gone. @returns whether anything changed that counts here */
  put(name: string, node: ClusterNode | undefined): boolean;
  /** Takes what was put: owners are found for all nodes at once. */
  settle(): void;
  /** Returns the pod with the addresses that its node may report: the same object for all of them. */
  admitted(pod: ClusterPod): ClusterPod;
}

/** An owner is the oldest node of several: only the API server sets when a node was created, and its UID. */
interface SubnetOwners {
  readonly subnets: ReadonlyMap<string, string>;
  readonly lengths: Readonly<Record<IpFamily, readonly number[]>>;
}

interface Owners extends SubnetOwners {
  readonly hosts: ReadonlyMap<string, string>;
  /** Names and families of nodes that have subnets. */
  readonly withSubnets: ReadonlySet<string>;
  readonly withHosts: ReadonlySet<string>;
}

export function createNodeAddresses(): NodeAddresses {
  const nodes = new Map<string, ClusterNode>();
  let owners = ownersOf(nodes);

  const admits = (text: string, { nodeName, hostNetwork }: ClusterPod): boolean => {
    const address = parseIp(text);
    if (address === undefined) return false;
    const subnetOf = subnetOwner(owners, address);
    const hostOf = owners.hosts.get(text);
    const own = `${nodeName} ${address.family}`;
    if (hostNetwork && subnetOf !== undefined && subnetOf !== nodeName) return false;
    if (hostNetwork)
      return (
        hostOf === nodeName || (hostOf === undefined && subnetOf === undefined && !owners.withHosts.has(own))
      );
    if (hostOf !== undefined) return false;
    return subnetOf === nodeName || (subnetOf === undefined && !owners.withSubnets.has(own));
  };

  return {
    put(name, node) {
      if (isDeepStrictEqual(nodes.get(name), node)) return false;
      if (node === undefined) nodes.delete(name);
      else nodes.set(name, node);
      return true;
    },
    settle: () => void (owners = ownersOf(nodes)),
    admitted(pod) {
      const addresses = pod.addresses.filter((address) => admits(address, pod));
      return addresses.length === pod.addresses.length ? pod : { ...pod, addresses };
    },
  };
}

const keyOf = ({ family, value }: IpAddress, length: number): string =>
  `${family} ${length} ${value >> BigInt(bitsOf(family) - length)}`;

function subnetOwner({ subnets, lengths }: SubnetOwners, address: IpAddress): string | undefined {
  for (const length of lengths[address.family]) {
    const owner = subnets.get(keyOf(address, length));
    if (owner !== undefined) return owner;
  }
  return undefined;
}

function ownersOf(nodes: ReadonlyMap<string, ClusterNode>): Owners {
  const [subnets, hosts] = [new Map<string, string>(), new Map<string, string>()];
  const [withSubnets, withHosts] = [new Set<string>(), new Set<string>()];
  const lengths = { 4: new Set<number>(), 6: new Set<number>() };
  const byAge = [...nodes].toSorted(([, a], [, b]) => compare(a.created, b.created) || compare(a.uid, b.uid));
  for (const [name, node] of byAge) {
    for (const { address, length } of node.subnets.flatMap((text) => parsePrefix(text) ?? [])) {
      withSubnets.add(`${name} ${address.family}`);
      // A subnet within that of an older node, or around it, is not this node's.
      const before = subnetOwner({ subnets, lengths: listed(lengths) }, address);
      if (before !== undefined) continue;
      lengths[address.family].add(length);
      subnets.set(keyOf(address, length), name);
    }
    for (const text of node.addresses) {
      const address = parseIp(text);
      if (address === undefined) continue;
      withHosts.add(`${name} ${address.family}`);
      // A node writes its own status. The addresses of an older node's pods are not its own.
      const inSubnetOf = subnetOwner({ subnets, lengths: listed(lengths) }, address) ?? name;
      if (inSubnetOf === name && !hosts.has(text)) hosts.set(text, name);
    }
  }
  return { subnets, hosts, withSubnets, withHosts, lengths: listed(lengths) };
}

/** The longest first: a subnet of an older node within a larger one counts. */
const listed = (lengths: Readonly<Record<IpFamily, ReadonlySet<number>>>): Owners['lengths'] => ({
  4: [...lengths[4]].toSorted((a, b) => b - a),
  6: [...lengths[6]].toSorted((a, b) => b - a),
});

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
