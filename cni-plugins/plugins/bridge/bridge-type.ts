import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import {
  addAddress,
  addGatewayLinkLocal,
  createBridge,
  deleteAddress,
  listAddresses,
  listSettings,
  lookUp,
  noMac,
  quickLinkStat,
  setMac,
  setNoOwnIpv6,
  setPromiscuous,
  setUp,
  tolerating,
} from '../../../base/netlink/index.ts';
import type { LinkFacts, NamedLink, Link, NetlinkSocket } from '../../../base/netlink/index.ts';
import { contains, formatIp, ipBytes, ipFromBytes, parsePrefix } from '../../../base/addresses/index.ts';
import type { IpPrefix } from '../../../base/addresses/index.ts';
import type { AttachmentKey } from '../../spec/attachment-key.ts';
import type { Attached, Resource, ResourceKernel, ResourceType } from '../contract/contract.ts';
import { deleteLink } from '../interface/child-link.ts';
import { ignoreRouters } from '../interface/pod-addresses.ts';
import { ensureVlanFiltering, ensureVlanGateway, vlanDifferences, vlanGateway } from './vlan.ts';
import { bridgeUnusable } from '../interface/failures.ts';

/** A bridge of the host. Many attachments share it, so none removes it; it stays, as upstream's does. */
export interface BridgeLinkResource extends Resource {
  readonly kind: 'bridge';
  readonly name: string;
  readonly mac: string;
  readonly mtu?: number;
  /** Addresses of the bridge itself, as CIDR; empty when it is not a gateway. */
  readonly addresses: readonly string[];
  /** Whether conflicting addresses are removed. */
  readonly forceAddress: boolean;
  readonly promiscuous: boolean;
  /** VLAN of the gateway's addresses; 0: none. */
  readonly vlan: number;
  readonly filtersVlans: boolean;
}

/** Our links carry a group (`ip link` shows it): `pc` in ASCII, then the link type. */
const bridgeGroup = 0x70630002;

interface Seen {
  /** Index of the bridge as the last resource of that name left it; it may be gone by now. */
  index: number;
  /** Group of the link with this index; both stay for the link's lifetime. Absent: not a bridge. */
  group?: number;
  /** Settings that were already applied to it: most calls find theirs applied. */
  readonly stamps: Set<string>;
  /**
   * For a bridge of ours: the MAC of the first resource that was created or compared. Resources with
   * different MACs would undo each other's.
   */
  mac?: string;
  /** The attachment that created it, until another one uses it: a failed ADD removes it again. */
  madeFor?: string;
}

/** Bridges by name, as they were seen over a socket. */
const known = new WeakMap<NetlinkSocket, Map<string, Seen>>();

/**
 * Returns the index of a bridge as the last resource of that name over the socket left it; it may be gone by
 * now. Undefined when there was none.
 */
export const bridgeSeen = (route: NetlinkSocket, name: string): number | undefined =>
  known.get(route)?.get(name)?.index;

/** Returns what is known about this particular bridge. */
function seenAs({ name, index, kind, group }: BridgeAsFound, route: NetlinkSocket): Seen {
  const bridges = known.get(route) ?? new Map<string, Seen>();
  known.set(route, bridges);
  const found = bridges.get(name);
  if (found?.index === index) return found;
  const seen: Seen = { index, stamps: new Set(), ...(kind === 'bridge' && { group }) };
  bridges.set(name, seen);
  return seen;
}

type BridgeAsFound = NamedLink & LinkFacts & Pick<Link, 'kind' | 'group'>;

/** An existing bridge, as an ADD finds it while no other change runs. */
export interface ObservedBridge {
  readonly link: BridgeAsFound;
  /**
   * The MAC that it has or gets again. Bridges of others keep the MAC that they were given last. Absent: it
   * has none, because its address was never set and its last port has left.
   */
  readonly mac?: string;
}

/** Returns undefined when it does not exist. */
export function observeBridge(route: NetlinkSocket, name: string): ObservedBridge | undefined {
  const link = standingAsSeen(route, name) ?? lookUp(route, { name });
  if (link === undefined) return undefined;
  const mac = link.group === bridgeGroup ? (seenAs(link, route).mac ?? link.mac) : link.mac;
  return { link, ...(mac !== noMac && { mac }) };
}

/** Returns the bridge that was seen before, with the few facts that may have changed since. */
function standingAsSeen(route: NetlinkSocket, name: string): BridgeAsFound | undefined {
  const { index, group } = known.get(route)?.get(name) ?? {};
  if (index === undefined || group === undefined) return undefined;
  const found = quickLinkStat(route, { name, index });
  return found === undefined ? undefined : { name, index, kind: 'bridge', group, ...found };
}

/** Observations for resources that are created next, so that they are not looked up again. */
const observed = new WeakMap<BridgeLinkResource, BridgeAsFound>();

/**
 * Remembers the observed bridge of a planned resource until the resource is created. @returns the resource
 */
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
  tolerating(['EEXIST'], () =>
    route.run([
      createBridge({
        name: resource.name,
        mac,
        group: bridgeGroup,
        ...(resource.mtu === undefined ? {} : { mtu: resource.mtu }),
      }),
      ...(existsSync('/proc/sys/net/ipv6') ? [setNoOwnIpv6({ name: resource.name })] : []),
    ]),
  );
  const made = lookUp(route, { name: resource.name });
  if (made === undefined) throw bridgeUnusable(resource.name, 'it disappeared while it was created');
  return made;
}

const textOfKey = ({ network, containerId, interface: name }: AttachmentKey): string =>
  `${network}/${containerId}/${name}`;

function ensure(resource: BridgeLinkResource, kernel: ResourceKernel, key: AttachmentKey): void {
  const { route } = kernel.host;
  const existing = observed.get(resource) ?? lookUp(route, { name: resource.name });
  observed.delete(resource);
  const link = existing ?? make(resource, route);
  if (link.kind !== 'bridge')
    throw bridgeUnusable(resource.name, `it is a link of kind ${link.kind === '' ? 'hardware' : link.kind}`);
  const seen = seenAs(link, route);
  const { stamps } = seen;
  if (existing === undefined) seen.madeFor = textOfKey(key);
  else if (seen.madeFor !== textOfKey(key)) delete seen.madeFor;
  const isOurs = link.group === bridgeGroup;
  const mac = macFor(resource, link, route);
  if (resource.filtersVlans) ensureVlanFiltering(route, link);
  if (link.up && stamps.has(stampOf(resource)) && (link.mac === mac || !isOurs)) return;
  const own = { index: link.index };
  if (isOurs) kernel.inHost(() => ignoreRouters(resource.name));
  // As upstream: a bridge whose address was never set takes the lowest of its ports', which changes with
  // every pod.
  const settled = setMac(link.index, isOurs || link.mac === noMac ? mac : link.mac);
  route.run([
    ...(link.mac === mac && isOurs ? [] : [settled]),
    ...(resource.promiscuous ? [setPromiscuous(own)] : []),
    setUp(own),
  ]);
  const index =
    resource.vlan === 0 || resource.addresses.length === 0
      ? link.index
      : ensureVlanGateway(kernel, link, resource.vlan);
  const wanted = prefixesOf(resource);
  // The addresses that are removed belong to other settings, which are applied no longer.
  if (resource.forceAddress) stamps.clear();
  for (const prefix of wanted) putAddress(resource, prefix, index, route, wanted);
  if (wanted.some(({ address }) => address.family === 6)) route.run([addGatewayLinkLocal(index)]);
  if (wanted.length > 0) kernel.inHost(() => enableForwarding(wanted));
  stamps.add(stampOf(resource));
}

const prefixesOf = (resource: BridgeLinkResource): IpPrefix[] =>
  resource.addresses.flatMap((text) => parsePrefix(text) ?? []);

const textOf = ({ address, length }: IpPrefix): string => `${formatIp(address)}/${length}`;

/** Sets an address. A conflicting address is refused, or removed if requested. */
function putAddress(
  resource: BridgeLinkResource,
  prefix: IpPrefix,
  index: number,
  route: NetlinkSocket,
  own: readonly IpPrefix[],
): void {
  const present = addressesAt(route, index);
  if (present.some((other) => textOf(other) === textOf(prefix))) return;
  for (const other of conflicting(prefix, present, own)) {
    if (!resource.forceAddress)
      throw bridgeUnusable(
        resource.name,
        conflictText(other, prefix),
        "set 'forceAddress', or remove the address",
      );
    route.run([deleteAddress(index, ipBytes(other.address), other.length)]);
  }
  route.run([addAddress(index, ipBytes(prefix.address), prefix.length)]);
}

const addressesAt = (route: NetlinkSocket, index: number): IpPrefix[] =>
  listAddresses(route, index).map(({ address, length }) => ({ address: ipFromBytes(address), length }));

const conflictText = (other: IpPrefix, wanted: IpPrefix): string =>
  `it has the address ${textOf(other)}, which is not ${textOf(wanted)}`;

/**
 * Returns the addresses that exclude another one. A bridge has one IPv4 address, and IPv6 addresses of
 * distinct subnets.
 */
const conflicting = (
  { address, length }: IpPrefix,
  present: readonly IpPrefix[],
  own: readonly IpPrefix[],
): IpPrefix[] =>
  present.filter(
    (other) =>
      other.address.family === address.family &&
      own.every((mine) => textOf(mine) !== textOf(other)) &&
      (address.family === 4 || contains(other, address) || contains({ address, length }, other.address)),
  );

/** Returns why a bridge cannot have these addresses beside those that it has. */
export function gatewayConflict(
  route: NetlinkSocket,
  bridge: Link,
  vlan: number,
  wanted: readonly IpPrefix[],
): string | undefined {
  const link = vlan === 0 || wanted.length === 0 ? bridge : vlanGateway(route, bridge, vlan);
  if (link === undefined) return undefined;
  const present = addressesAt(route, link.index);
  for (const prefix of wanted) {
    if (present.some((other) => textOf(other) === textOf(prefix))) continue;
    const [other] = conflicting(prefix, present, wanted);
    if (other !== undefined) return conflictText(other, prefix);
  }
  return undefined;
}

/**
 * Enables forwarding for a gateway. Writes only when it is off, because a container's /proc/sys may be
 * read-only and already correct.
 */
function enableForwarding(addresses: readonly IpPrefix[]): void {
  for (const file of forwardingFiles(addresses))
    if (readFileSync(file, 'utf8').trim() !== '1') writeFileSync(file, '1');
}

const forwardingFiles = (addresses: readonly IpPrefix[]): string[] => [
  ...(addresses.some(({ address }) => address.family === 4) ? ['/proc/sys/net/ipv4/ip_forward'] : []),
  ...(addresses.some(({ address }) => address.family === 6)
    ? ['/proc/sys/net/ipv6/conf/all/forwarding']
    : []),
];

function differences(resource: BridgeLinkResource, kernel: ResourceKernel): string[] {
  const { route } = kernel.host;
  const link = lookUp(route, { name: resource.name });
  const found =
    link === undefined ? [`there is no bridge ${resource.name}`] : differencesOf(resource, link, kernel);
  if (link !== undefined && found.length > 0) seenAs(link, route).stamps.clear();
  return found;
}

function differencesOf(resource: BridgeLinkResource, link: Link, kernel: ResourceKernel): string[] {
  const { name } = resource;
  if (link.kind !== 'bridge') return [`${name} is not a bridge, but a link of kind ${link.kind}`];
  const { route } = kernel.host;
  const mac = macFor(resource, link, route);
  const hasGateway = resource.addresses.length > 0;
  const gateway = resource.vlan === 0 || !hasGateway ? link : vlanGateway(route, link, resource.vlan);
  const present =
    gateway === undefined
      ? []
      : listAddresses(route, gateway.index).map(({ address, length }) =>
          textOf({ address: ipFromBytes(address), length }),
        );
  const forwarding = kernel.inHost(() =>
    forwardingFiles(prefixesOf(resource)).filter((file) => readFileSync(file, 'utf8').trim() !== '1'),
  );
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

/** An IPv6 gateway resolves its neighbours from a link-local address. */
function addressesOf(resource: BridgeLinkResource): string[] {
  const wanted = prefixesOf(resource);
  return [
    ...wanted.map(textOf),
    ...(wanted.some(({ address }) => address.family === 6) ? ['fe80::1/64'] : []),
  ];
}

/** The bridge stays when its pods go, as upstream's does; but a failed ADD leaves none behind. */
function remove(
  resource: BridgeLinkResource,
  kernel: ResourceKernel,
  key: AttachmentKey,
  { isUndone }: Attached,
): void {
  const { route } = kernel.host;
  const link = isUndone === true ? lookUp(route, { name: resource.name }) : undefined;
  if (link === undefined || link.group !== bridgeGroup || seenAs(link, route).madeFor !== textOfKey(key))
    return;
  if (listSettings(route).every(({ master }) => master !== link.index))
    deleteLink(kernel, 'host', link.index);
}

export const bridgeType: ResourceType<BridgeLinkResource> = { kind: 'bridge', ensure, differences, remove };
