import { formatIp, parsePrefix } from '../../../base/addresses/index.ts';
import type { IpFamily } from '../../../base/addresses/index.ts';
import type { Peer } from '../ownership/peers.ts';
import type { HostRecord } from '../records/records.ts';
import { familyOf, hostAddressOf } from '../records/settings.ts';
import type { OverlayNetwork } from '../records/settings.ts';

/** Entries that the kernel needs in order to reach one other host. Pure. */

export type Entry =
  /** Frames for a MAC address go to that host. */
  | { readonly kind: 'forwarding'; readonly mac: string; readonly remote: string }
  /** The other host's end, so that the kernel need not resolve it. */
  | { readonly kind: 'neighbour'; readonly address: string; readonly mac: string }
  /** WireGuard: packets for the subnets go to the holder of this key, and are accepted from no other peer. */
  | {
      readonly kind: 'peer';
      readonly publicKey: string;
      readonly remote: string;
      readonly port: number;
      /** Empty: the peer is known and may announce itself. */
      readonly subnets: readonly string[];
      readonly keepaliveSeconds: number;
    }
  | {
      readonly kind: 'route';
      readonly subnet: string;
      /** Address of the other host's end. */
      readonly gateway?: string;
      /** Source address of packets that the host itself sends. */
      readonly source?: string;
      /** Set where it is less than our own. */
      readonly mtu?: number;
    };

/** Returns the key that identifies an entry of the kernel. */
export function keyOf(entry: Entry): string {
  switch (entry.kind) {
    case 'forwarding':
      return `forwarding ${entry.mac}`;
    case 'neighbour':
      return `neighbour ${entry.address}`;
    case 'peer':
      return `peer ${entry.publicKey}`;
    case 'route':
      return `route ${entry.subnet}`;
  }
}

export function sameEntry(a: Entry, b: Entry): boolean {
  if (a.kind === 'forwarding' && b.kind === 'forwarding') return a.mac === b.mac && a.remote === b.remote;
  if (a.kind === 'neighbour' && b.kind === 'neighbour') return a.address === b.address && a.mac === b.mac;
  if (a.kind === 'peer' && b.kind === 'peer')
    return (
      a.publicKey === b.publicKey &&
      a.remote === b.remote &&
      a.port === b.port &&
      a.keepaliveSeconds === b.keepaliveSeconds &&
      a.subnets.join() === b.subnets.join()
    );
  if (a.kind === 'route' && b.kind === 'route')
    return a.subnet === b.subnet && a.gateway === b.gateway && a.source === b.source && a.mtu === b.mtu;
  return false;
}

/** This host's data that entries for other hosts depend on. */
export interface Own {
  readonly record: HostRecord;
  readonly subnets: readonly string[];
  readonly networks: readonly OverlayNetwork[];
}

/** Returns why nothing can be sent to a host; undefined if it can. Both sides reach the same result. */
export function unreachableBy(own: HostRecord, other: HostRecord): string | undefined {
  if (familyOf(own.underlay) !== familyOf(other.underlay)) return 'its underlay has another address family';
  if (own.wireguard !== undefined)
    return other.wireguard === undefined
      ? 'it has no key, and this host sends nothing unencrypted'
      : undefined;
  if (other.vxlan === undefined) return 'it encrypts, and this host does not';
  return own.vxlan?.port === other.vxlan.port ? undefined : `its VXLAN has the port ${other.vxlan.port}`;
}

/**
 * Returns the subnets of the peer that are host subnets of our networks and not our own. A peer gains nothing
 * by announcing more.
 */
export function subnetsOf(peer: Peer, own: Own): string[] {
  return peer.subnets.filter((text) => {
    const subnet = parsePrefix(text);
    if (subnet === undefined || own.subnets.includes(text)) return false;
    return own.networks.some(
      ({ prefix, hostLength }) =>
        prefix.address.family === subnet.address.family &&
        subnet.length === hostLength &&
        subnet.address.value >= prefix.address.value &&
        subnet.address.value >> hostBits(prefix.address.family, prefix.length) ===
          prefix.address.value >> hostBits(prefix.address.family, prefix.length),
    );
  });
}

const hostBits = (family: IpFamily, length: number): bigint => BigInt((family === 4 ? 32 : 128) - length);

/** Seconds between keepalives, which show a new key or a changed address without other traffic. */
const keepaliveSeconds = 25;

/**
 * @param key for a WireGuard peer that announced several keys: the key in use; default: the key that it
 * announces as current
 */
export function entriesOf(peer: Peer, own: Own, key?: string): Entry[] {
  const subnets = subnetsOf(peer, own);
  if (unreachableBy(own.record, peer.record) !== undefined || subnets.length === 0) return [];
  const { vxlan, wireguard } = peer.record;
  const routes = (gateway: (subnet: string) => object): Entry[] =>
    subnets.map((subnet) => ({ ...routeTo(subnet, peer, own), ...gateway(subnet) }));
  if (wireguard !== undefined) {
    const used = key ?? wireguard.publicKey;
    const ends = [...new Set([wireguard.publicKey, wireguard.nextKey, used])].map((publicKey): Entry => {
      const isUsed = publicKey === used;
      return {
        kind: 'peer',
        publicKey,
        remote: peer.record.underlay,
        port: wireguard.port,
        subnets: isUsed ? subnets : [],
        keepaliveSeconds: isUsed ? keepaliveSeconds : 0,
      };
    });
    return [...ends, ...routes(() => ({}))];
  }
  if (vxlan === undefined) return [];
  return [
    { kind: 'forwarding', mac: vxlan.mac, remote: peer.record.underlay },
    ...subnets.map((subnet): Entry => ({ kind: 'neighbour', address: addressIn(subnet), mac: vxlan.mac })),
    ...routes((subnet) => ({ gateway: addressIn(subnet) })),
  ];
}

function routeTo(subnet: string, { record: { mtu } }: Peer, own: Own): Entry & { readonly kind: 'route' } {
  const source = own.subnets.find((text) => familyOf(text) === familyOf(subnet));
  return {
    kind: 'route',
    subnet,
    ...(source === undefined ? {} : { source: addressIn(source) }),
    ...(mtu < own.record.mtu ? { mtu } : {}),
  };
}

/** Returns a host's own address in its subnet. */
export function addressIn(subnet: string): string {
  const prefix = parsePrefix(subnet);
  if (prefix === undefined) throw new Error(`${subnet} was not read`);
  return formatIp(hostAddressOf(prefix));
}

/**
 * Returns the entries to remove and to add, in this order, so that the kernel has `wanted` instead of `held`.
 */
export function difference(
  held: ReadonlyMap<string, Entry>,
  wanted: ReadonlyMap<string, Entry>,
): { remove: Entry[]; put: Entry[] } {
  const remove = [...held].flatMap(([key, entry]) => (wanted.has(key) ? [] : [entry]));
  const put = [...wanted].flatMap(([key, entry]) => {
    const existing = held.get(key);
    return existing !== undefined && sameEntry(existing, entry) ? [] : [entry];
  });
  // Routes are removed first and added last, so that no route leads to an unknown host.
  return { remove: remove.sort((a, b) => rank(b) - rank(a)), put: put.sort((a, b) => rank(a) - rank(b)) };
}

const rank = ({ kind }: Entry): number => (kind === 'route' ? 2 : kind === 'neighbour' ? 1 : 0);

export const isPeer = (entry: Entry): entry is Entry & { readonly kind: 'peer' } => entry.kind === 'peer';
