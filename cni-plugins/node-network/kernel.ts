import type { PortcullisError } from '../../base/errors/index.ts';
import { NETLINK_ROUTE } from '../../base/kernel/index.ts';
import {
  deleteLink,
  deleteRoute,
  findLink,
  listHostAddresses,
  listRoutes,
  listSettings,
  loopbackIndex,
  mainTable,
  openNetlink,
  replaceRoute,
  routeScopes,
} from '../../base/netlink/index.ts';
import type { NetlinkSocket, Refusal, Request, TableRoute } from '../../base/netlink/index.ts';
import { contains, formatIp, ipBytes, ipFromBytes, networkOf } from '../../base/addresses/index.ts';
import type { IpPrefix } from '../../base/addresses/index.ts';
import type { HostAddress, NodeRoute } from './routes.ts';

/**
 * The state of the node's network in the kernel. Synchronous, for a Worker. Acts in the network namespace in
 * which it was opened.
 */
export interface NodeKernel {
  /** Addresses of this host's links, without the bridge of its pods and loopback. @throws NETWORK_KERNEL_… */
  hostAddresses(): readonly HostAddress[];
  /**
   * Brings the routes into the ranges to exactly these. Routes of the bridge of the pods stay. A refused
   * route does not prevent the other routes. @throws NETWORK_KERNEL_… if the routes cannot be read
   */
  reconcile(wanted: ReadonlyMap<string, NodeRoute>, ranges: readonly IpPrefix[]): Reconciled;
  /** The MTU of the link by which packets leave by default; 1500 without one. @throws NETWORK_KERNEL_… */
  mtu(): number;
  /** How many pods have a link to the bridge. @throws NETWORK_KERNEL_… */
  pods(): number;
  /**
   * The subnets of the bridge's addresses, without link-local ones. Undefined: pods are on it, and it has
   * none. @throws NETWORK_KERNEL_…
   */
  bridgeSubnets(): readonly IpPrefix[] | undefined;
  /** Removes the bridge, with its addresses and routes. @throws NETWORK_KERNEL_… */
  removeBridge(): void;
  close(): void;
}

export interface Reconciled {
  /** The differences that were corrected. */
  readonly corrected: readonly string[];
  readonly refused: readonly PortcullisError[];
  /** How many of the wanted routes exist. */
  readonly count: number;
}

export function openNodeKernel(bridge: string): NodeKernel {
  const route = openNetlink(NETLINK_ROUTE);
  const bridgeIndex = (): number => findLink(route, { name: bridge })?.index ?? 0;

  return {
    hostAddresses() {
      const own = bridgeIndex();
      return listHostAddresses(route)
        .filter(({ index }) => index !== own && index !== loopbackIndex)
        .map(({ index, address, length }) => ({ linkIndex: index, address: ipFromBytes(address), length }));
    },
    reconcile(wanted, ranges) {
      const own = bridgeIndex();
      const missing = new Map(wanted);
      const wrong: TableRoute[] = [];
      for (const existing of listRoutes(route)) {
        if (existing.table !== mainTable || existing.index === own || !isWithin(existing, ranges)) continue;
        const text = textOf(existing);
        const right = missing.get(text);
        if (right !== undefined && leadsTo(existing, right)) missing.delete(text);
        else wrong.push(existing);
      }
      const put = [...missing.values()].map(tableRouteOf);
      const [left, unmade] = [
        send(route, wrong.map(deleteRoute), gone),
        send(route, put.map(replaceRoute), []),
      ];
      return {
        corrected: [
          ...without(wrong, left).map((existing) => `there was an unwanted route to ${textOf(existing)}`),
          ...without(put, unmade).map((made) => `the route to ${textOf(made)} was missing or different`),
        ],
        refused: [...left, ...unmade].map(({ error }) => error),
        count: wanted.size - unmade.length,
      };
    },
    mtu() {
      const links = listSettings(route);
      const [byDefault] = listRoutes(route)
        .filter(({ length, table }) => length === 0 && table === mainTable)
        .flatMap(({ index }) => links.find((link) => link.index === index) ?? []);
      return byDefault?.mtu ?? 1500;
    },
    pods() {
      const own = bridgeIndex();
      return own === 0 ? 0 : listSettings(route).filter(({ master }) => master === own).length;
    },
    bridgeSubnets() {
      const own = bridgeIndex();
      if (own === 0) return [];
      const subnets = listHostAddresses(route)
        .filter(({ index }) => index === own)
        .map(({ address, length }) => networkPrefix({ address: ipFromBytes(address), length }))
        .filter(({ address }) => !contains(linkLocal, address));
      const hasPods = listSettings(route).some(({ master }) => master === own);
      return subnets.length === 0 && hasPods ? undefined : subnets;
    },
    removeBridge() {
      if (bridgeIndex() !== 0) route.run([deleteLink({ name: bridge })]);
    },
    close: () => route.close(),
  };
}

const linkLocal: IpPrefix = { address: { family: 6, value: 0xfe80n << 112n }, length: 10 };
const networkPrefix = (prefix: IpPrefix): IpPrefix => ({ ...prefix, address: networkOf(prefix) });

/** A route that is removed may be gone already, also with its link. */
const gone = ['NETWORK_KERNEL_ESRCH', 'NETWORK_KERNEL_ENOENT', 'NETWORK_KERNEL_ENODEV'];
/** Number of requests whose answers fit the socket's buffer. */
const atOnce = 500;

/** Returns the refusals, except those with one of the codes. */
function send(socket: NetlinkSocket, requests: readonly Request[], except: readonly string[]): Refusal[] {
  const failed: Refusal[] = [];
  for (let at = 0; at < requests.length; at += atOnce)
    for (const { index, error } of socket.send(requests.slice(at, at + atOnce)))
      if (!except.includes(error.code)) failed.push({ index: at + index, error });
  return failed;
}

function without(routes: readonly TableRoute[], refused: readonly Refusal[]): readonly TableRoute[] {
  const indexes = new Set(refused.map(({ index }) => index));
  return routes.filter((_route, index) => !indexes.has(index));
}

const isWithin = ({ destination, length }: TableRoute, ranges: readonly IpPrefix[]): boolean =>
  ranges.some((range) => length >= range.length && contains(range, ipFromBytes(destination)));

const textOf = ({ destination, length }: TableRoute): string =>
  `${formatIp(ipFromBytes(destination))}/${length}`;

const leadsTo = ({ index, gateway }: TableRoute, right: NodeRoute): boolean =>
  index === right.linkIndex && gateway !== undefined && ipBytes(right.gateway).equals(gateway);

const tableRouteOf = ({ subnet, gateway, linkIndex }: NodeRoute): TableRoute => ({
  index: linkIndex,
  destination: ipBytes(subnet.address),
  length: subnet.length,
  table: mainTable,
  scope: routeScopes.universe,
  gateway: ipBytes(gateway),
});
