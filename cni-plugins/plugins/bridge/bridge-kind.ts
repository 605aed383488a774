import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { PortcullisError } from '../../../base/errors/index.ts';
import { glanceAt } from '../../netlink/glance.ts';
import type { Glance, NamedLink } from '../../netlink/glance.ts';
import { isRefusal } from '../../netlink/kernel-failure.ts';
import { listSettings, setMac } from '../../netlink/link-settings.ts';
import { createBridge, lookUp, setNoOwnIpv6, setPromiscuous, setUp } from '../../netlink/links.ts';
import type { Link } from '../../netlink/links.ts';
import { listAddresses } from '../../netlink/route-tables.ts';
import { addAddress, addGatewayLinkLocal, deleteAddress } from '../../netlink/routes.ts';
import type { NetlinkSocket } from '../../netlink/socket.ts';
import { contains, formatIp, ipBytes, ipFromBytes, parsePrefix } from '../../spec/address.ts';
import type { IpPrefix } from '../../spec/address.ts';
import type { AttachmentKey } from '../../spec/attachment-key.ts';
import type { Attached, Resource, ResourceKernel, ResourceKind } from '../contract.ts';
import { deleteLink } from '../interface/child-link.ts';
import { ensureVlanFiltering, ensureVlanGateway, vlanDifferences, vlanGateway } from './vlan.ts';

/** A bridge of the host. Many attachments share it, so none removes it; it stays as upstream's does. */
export interface BridgeLinkResource extends Resource {
  readonly kind: 'bridge';
  readonly name: string;
  readonly mac: string;
  readonly mtu?: number;
  /** Of the bridge itself, as CIDR; none when it is no gateway. */
  readonly addresses: readonly string[];
  /** Takes away an address that is in the way. */
  readonly forceAddress: boolean;
  readonly promiscuous: boolean;
  /** The gateway's addresses are in this VLAN; 0: in none. */
  readonly vlan: number;
  readonly filtersVlans: boolean;
}

/** Links of ours carry a group (`ip link` shows it): `pc` in ASCII, then what they are. */
const bridgeGroup = 0x70630002;

interface Seen {
  /** The bridge's as the last resource of that name left it; it may be gone by now. */
  index: number;
  /** What the link with the index is; both last as long as it. Absent: not a bridge. */
  group?: number;
  /** What was brought up on it: most calls find theirs so. */
  readonly stamps: Set<string>;
  /** Of a bridge of ours: as the first resource that was made or compared has it. Several that differ would undo each other's. */
  mac?: string;
  /** Who made it, until somebody else uses it: an ADD that fails takes it away again. */
  madeFor?: string;
}

/** Bridges by name, as they were seen over a socket. */
const known = new WeakMap<NetlinkSocket, Map<string, Seen>>();

/** Index of a bridge as the last resource of that name over the socket left it; it may be gone by now. Undefined: none was. */
export const bridgeSeen = (route: NetlinkSocket, name: string): number | undefined => known.get(route)?.get(name)?.index;

/** What is known of this very bridge. */
function seenAs({ name, index, kind, group }: BridgeAsFound, route: NetlinkSocket): Seen {
  const bridges = known.get(route) ?? new Map<string, Seen>();
  known.set(route, bridges);
  const found = bridges.get(name);
  if (found?.index === index) return found;
  const seen: Seen = { index, stamps: new Set(), ...(kind === 'bridge' && { group }) };
  bridges.set(name, seen);
  return seen;
}

type BridgeAsFound = NamedLink & Glance & Pick<Link, 'kind' | 'group'>;

/** A bridge that stands, as an ADD finds it while nobody else acts. */
export interface ObservedBridge {
  readonly link: BridgeAsFound;
  /** That it has or shall have again. Others' keep what they were given last. */
  readonly mac: string;
}

/** Undefined: there is none. */
export function observeBridge(route: NetlinkSocket, name: string): ObservedBridge | undefined {
  const link = standingAsSeen(route, name) ?? lookUp(route, { name });
  if (link === undefined) return undefined;
  return { link, mac: link.group === bridgeGroup ? (seenAs(link, route).mac ?? link.mac) : link.mac };
}

/** The bridge that was seen before, by the few facts that may have changed since. */
function standingAsSeen(route: NetlinkSocket, name: string): BridgeAsFound | undefined {
  const { index, group } = known.get(route)?.get(name) ?? {};
  if (index === undefined || group === undefined) return undefined;
  const glance = glanceAt(route, { name, index });
  return glance === undefined ? undefined : { name, index, kind: 'bridge', group, ...glance };
}

/** What was observed for a resource that is to be made next: it is not looked up again. */
const observed = new WeakMap<BridgeLinkResource, BridgeAsFound>();

/** Remembers how the bridge of a planned resource was found, until the resource is made. @returns the resource */
export function planBridge(resource: BridgeLinkResource, as: ObservedBridge | undefined): BridgeLinkResource {
  if (as !== undefined) observed.set(resource, as.link);
  return resource;
}

function macFor(resource: BridgeLinkResource, link: BridgeAsFound, route: NetlinkSocket): string {
  if (link.group !== bridgeGroup) return resource.mac;
  const seen = seenAs(link, route);
  seen.mac ??= resource.mac;
  return seen.mac;
}

const stampOf = (resource: BridgeLinkResource): string =>
  `${resource.addresses.join(' ')} ${resource.promiscuous} ${resource.vlan} ${resource.filtersVlans}`;

function make(resource: BridgeLinkResource, route: NetlinkSocket): Link {
  const mac = Buffer.from(resource.mac.replaceAll(':', ''), 'hex');
  try {
    route.run([
      createBridge({ name: resource.name, mac, group: bridgeGroup, ...(resource.mtu === undefined ? {} : { mtu: resource.mtu }) }),
      ...(existsSync('/proc/sys/net/ipv6') ? [setNoOwnIpv6({ name: resource.name })] : []),
    ]);
  } catch (thrown) {
    if (!isRefusal(thrown, 'EEXIST')) throw thrown;
  }
  const made = lookUp(route, { name: resource.name });
  if (made === undefined) throw unusable(resource.name, 'it vanished while it was made');
  return made;
}

const textOfKey = ({ network, containerId, interface: name }: AttachmentKey): string => `${network}/${containerId}/${name}`;

function ensure(resource: BridgeLinkResource, kernel: ResourceKernel, key: AttachmentKey): void {
  const { route } = kernel.host;
  const standing = observed.get(resource) ?? lookUp(route, { name: resource.name });
  observed.delete(resource);
  const link = standing ?? make(resource, route);
  if (link.kind !== 'bridge') throw unusable(resource.name, `it is a link of kind ${link.kind === '' ? 'hardware' : link.kind}`);
  const seen = seenAs(link, route);
  const { stamps } = seen;
  if (standing === undefined) seen.madeFor = textOfKey(key);
  else if (seen.madeFor !== textOfKey(key)) delete seen.madeFor;
  const isOurs = link.group === bridgeGroup;
  const mac = macFor(resource, link, route);
  if (resource.filtersVlans) ensureVlanFiltering(route, link);
  if (link.up && stamps.has(stampOf(resource)) && (link.mac === mac || !isOurs)) return;
  const own = { index: link.index };
  // As upstream: a bridge whose address nobody has set takes the lowest of its ports', another one with every pod.
  const settled = setMac(link.index, isOurs ? mac : link.mac);
  route.run([...(link.mac === mac && isOurs ? [] : [settled]), ...(resource.promiscuous ? [setPromiscuous(own)] : []), setUp(own)]);
  const index = resource.vlan === 0 || resource.addresses.length === 0 ? link.index : ensureVlanGateway(route, link, resource.vlan);
  const wanted = prefixesOf(resource);
  for (const prefix of wanted) putAddress(resource, prefix, index, route, wanted);
  if (wanted.some(({ address }) => address.family === 6)) route.run([addGatewayLinkLocal(index)]);
  if (wanted.length > 0) kernel.inHost(() => enableForwarding(wanted));
  stamps.add(stampOf(resource));
}

const prefixesOf = (resource: BridgeLinkResource): IpPrefix[] => resource.addresses.flatMap((text) => parsePrefix(text) ?? []);

const textOf = ({ address, length }: IpPrefix): string => `${formatIp(address)}/${length}`;

/** A bridge has one IPv4 address, and IPv6 addresses of distinct subnets; another one in the way is refused, or removed where that is asked for. */
function putAddress(resource: BridgeLinkResource, prefix: IpPrefix, index: number, route: NetlinkSocket, own: readonly IpPrefix[]): void {
  const present = listAddresses(route, index).map(({ address, length }): IpPrefix => ({ address: ipFromBytes(address), length }));
  if (present.some((other) => textOf(other) === textOf(prefix))) return;
  for (const other of present) {
    if (other.address.family !== prefix.address.family || own.some((mine) => textOf(mine) === textOf(other))) continue;
    const overlaps = contains(other, prefix.address) || contains(prefix, other.address);
    if (prefix.address.family === 6 && !overlaps) continue;
    if (!resource.forceAddress)
      throw unusable(
        resource.name,
        `it has the address ${textOf(other)}, which is not ${textOf(prefix)}`,
        "set 'forceAddress', or remove the address",
      );
    route.run([deleteAddress(index, ipBytes(other.address), other.length)]);
  }
  route.run([addAddress(index, ipBytes(prefix.address), prefix.length)]);
}

/** A gateway forwards. Written only when it is off: a container's /proc/sys may be read-only and already right. */
function enableForwarding(addresses: readonly IpPrefix[]): void {
  for (const file of forwardingFiles(addresses)) if (readFileSync(file, 'utf8').trim() !== '1') writeFileSync(file, '1');
}

const forwardingFiles = (addresses: readonly IpPrefix[]): string[] => [
  ...(addresses.some(({ address }) => address.family === 4) ? ['/proc/sys/net/ipv4/ip_forward'] : []),
  ...(addresses.some(({ address }) => address.family === 6) ? ['/proc/sys/net/ipv6/conf/all/forwarding'] : []),
];

function differences(resource: BridgeLinkResource, kernel: ResourceKernel): string[] {
  const { route } = kernel.host;
  const link = lookUp(route, { name: resource.name });
  const found = link === undefined ? [`there is no bridge ${resource.name}`] : differencesOf(resource, link, kernel);
  if (link !== undefined && found.length > 0) seenAs(link, route).stamps.clear();
  return found;
}

function differencesOf(resource: BridgeLinkResource, link: Link, kernel: ResourceKernel): string[] {
  const { name } = resource;
  if (link.kind !== 'bridge') return [`${name} is no bridge, but a link of kind ${link.kind}`];
  const { route } = kernel.host;
  const mac = macFor(resource, link, route);
  const hasGateway = resource.addresses.length > 0;
  const gateway = resource.vlan === 0 || !hasGateway ? link : vlanGateway(route, link, resource.vlan);
  const present =
    gateway === undefined
      ? []
      : listAddresses(route, gateway.index).map(({ address, length }) => textOf({ address: ipFromBytes(address), length }));
  const forwarding = kernel.inHost(() => forwardingFiles(prefixesOf(resource)).filter((file) => readFileSync(file, 'utf8').trim() !== '1'));
  return [
    ...(link.up ? [] : [`the bridge ${name} is down`]),
    ...(link.mac === mac ? [] : [`the bridge ${name} has the MAC address ${link.mac}, not ${mac}`]),
    ...(resource.promiscuous && !link.promiscuous ? [`the bridge ${name} is not in promiscuous mode`] : []),
    ...(resource.filtersVlans ? vlanDifferences(route, link, hasGateway ? resource.vlan : 0) : []),
    ...addressesOf(resource)
      .filter((address) => !present.includes(address))
      .map((address) => `the bridge ${name} has no address ${address}`),
    ...forwarding.map((file) => `${file} is off`),
  ];
}

/** A gateway of IPv6 asks for its neighbours from a link-local address. */
function addressesOf(resource: BridgeLinkResource): string[] {
  const wanted = prefixesOf(resource);
  return [...wanted.map(textOf), ...(wanted.some(({ address }) => address.family === 6) ? ['fe80::1/64'] : [])];
}

function unusable(name: string, why: string, fix = "rename that link, or give another name as 'bridge' in the conflist"): PortcullisError {
  return new PortcullisError({ code: 'NETWORK_BRIDGE_UNUSABLE', kind: 'precondition', attempted: 'use the bridge', on: name, why, fix });
}

/** It stays when its pods go, as upstream's does; but an ADD that fails leaves none behind. */
function remove(resource: BridgeLinkResource, kernel: ResourceKernel, key: AttachmentKey, { isUndone }: Attached): void {
  const { route } = kernel.host;
  const link = isUndone === true ? lookUp(route, { name: resource.name }) : undefined;
  if (link === undefined || link.group !== bridgeGroup || seenAs(link, route).madeFor !== textOfKey(key)) return;
  if (listSettings(route).every(({ master }) => master !== link.index)) deleteLink(kernel, 'host', link.index);
}

export const bridgeKind: ResourceKind<BridgeLinkResource> = { kind: 'bridge', ensure, differences, remove };
