import { bitsOf, contains, formatIp } from '../../base/addresses/index.ts';
import type { IpAddress, IpPrefix } from '../../base/addresses/index.ts';
import type { Claims, RefusedNode } from './claims.ts';
import type { ClusterNode } from './nodes.ts';
import { prefixText } from './settings.ts';

/** By which route each other node's pod subnet is reached. Pure. */

export interface NodeRoute {
  readonly subnet: IpPrefix;
  readonly gateway: IpAddress;
  /** Index of the link by which the gateway is reached. */
  readonly linkIndex: number;
}

/** An address of this host, and the segment that its link is on. */
export interface HostAddress {
  readonly linkIndex: number;
  readonly address: IpAddress;
  readonly length: number;
}

export interface PlannedRoutes {
  /** By subnet, as text. */
  readonly routes: ReadonlyMap<string, NodeRoute>;
  readonly refused: readonly RefusedNode[];
}

/** @param host addresses of this host's links, without the bridge of its pods and loopback */
export function planRoutes(
  nodes: ReadonlyMap<string, ClusterNode>,
  { subnets }: Pick<Claims, 'subnets'>,
  around: {
    readonly nodeName: string;
    readonly ranges: readonly IpPrefix[];
    readonly host: readonly HostAddress[];
  },
): PlannedRoutes {
  const routes = new Map<string, NodeRoute>();
  const refused: RefusedNode[] = [];
  for (const [node, owned] of subnets) {
    if (node === around.nodeName) continue;
    for (const subnet of owned) {
      const { family } = subnet.address;
      const addresses = (nodes.get(node)?.addresses ?? []).filter((one) => one.family === family);
      const reasons: string[] = [];
      const way = addresses
        .map((gateway) => {
          const found = wayTo(gateway, around);
          if (typeof found === 'string') reasons.push(found);
          return found;
        })
        .find((found) => typeof found !== 'string');
      const text = prefixText(subnet);
      if (way !== undefined && typeof way !== 'string') routes.set(text, { subnet, ...way });
      else refused.push({ node, what: text, why: reasons[0] ?? `the node has no IPv${family} InternalIP` });
    }
  }
  return { routes, refused };
}

type Way = Omit<NodeRoute, 'subnet'>;

/** Returns the link on whose segment the gateway is, or why it cannot be one. */
function wayTo(
  gateway: IpAddress,
  { ranges, host }: { readonly ranges: readonly IpPrefix[]; readonly host: readonly HostAddress[] },
): Way | string {
  const text = formatIp(gateway);
  if (!isUnicast(gateway)) return `its InternalIP ${text} is not the address of a host`;
  if (ranges.some((range) => contains(range, gateway)))
    return `its InternalIP ${text} is in network.pods.ranges`;
  if (host.some(({ address }) => address.value === gateway.value && address.family === gateway.family))
    return `its InternalIP ${text} is an address of this node`;
  const [nearest] = host
    .filter(({ address, length }) => isSegment(address, length) && contains({ address, length }, gateway))
    .toSorted((a, b) => b.length - a.length);
  return nearest === undefined
    ? `its InternalIP ${text} is not on a network segment of this node`
    : { gateway, linkIndex: nearest.linkIndex };
}

/** An address with its full length, and a link-local one, do not say who else is on the link. */
const isSegment = (address: IpAddress, length: number): boolean =>
  length > 0 && length < bitsOf(address.family) && !isIn(address, linkLocals);

const prefix = (family: 4 | 6, value: bigint, length: number): IpPrefix => ({
  address: { family, value },
  length,
});
/** RFC 3927 and RFC 4291, section 2.5.6. */
const linkLocals = [prefix(4, 0xa9fe_0000n, 16), prefix(6, 0xfe80n << 112n, 10)];
/** This network, loopback, multicast and reserved (RFC 6890, RFC 4291, section 2.4). */
const notHosts = [
  prefix(4, 0n, 8),
  prefix(4, 0x7f00_0000n, 8),
  prefix(4, 0xe000_0000n, 3),
  prefix(6, 0n, 96),
  prefix(6, 0xffn << 120n, 8),
  ...linkLocals,
];

const isIn = (address: IpAddress, prefixes: readonly IpPrefix[]): boolean =>
  prefixes.some((each) => contains(each, address));

const isUnicast = (address: IpAddress): boolean => !isIn(address, notHosts);
