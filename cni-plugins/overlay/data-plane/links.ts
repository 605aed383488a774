import { PortcullisError } from '../../../base/errors/index.ts';
import {
  isRefusal,
  createLink,
  findLink,
  listSettings,
  macBytes,
  setFlag,
  setMac,
  setMtu,
  deleteLink,
  setNoOwnIpv6,
  listAddresses,
  putAddress,
  deleteAddress,
  acknowledged,
} from '../../../base/netlink/index.ts';
import type { NewLink, LinkSettings, NetlinkSocket } from '../../../base/netlink/index.ts';
import { formatIp, ipBytes, ipFromBytes, ipTextBytes, parseIp } from '../../../base/addresses/index.ts';
import { addressIn } from './entries.ts';
import type { Own } from './entries.ts';
import type { VxlanEnd } from '../records/records.ts';

/** The link type that carries packets between hosts. */
export type Carrier = 'vxlan' | 'wireguard';

/** Names of the links. They are exclusively ours: anything unexpected on them is removed. */
export const linkNames: Readonly<Record<Carrier, string>> = {
  vxlan: 'portcullis-vx',
  wireguard: 'portcullis-wg',
};

/**
 * Bytes that precede a pod's packet on the underlay: IP (20 or 40) and UDP (8), then VXLAN (8) and Ethernet
 * (14), or WireGuard's header (16) and the tag after the packet (16).
 */
export const overhead: Readonly<Record<Carrier, Readonly<Record<4 | 6, number>>>> = {
  vxlan: { 4: 50, 6: 70 },
  wireguard: { 4: 60, 6: 80 },
};

/** @param text an address that was read before */
export const bytesOf = (text: string): Buffer => {
  const bytes = ipTextBytes(text);
  if (bytes === undefined) throw new Error(`${text} was not read`);
  return bytes;
};

/** The address to which other hosts send, in canonical form, with the MTU of its link. */
export interface Underlay {
  readonly address: string;
  readonly mtu: number;
}

/**
 * @param wanted a link, whose first address of global scope is used, IPv4 before IPv6; or an address. @throws
 * OVERLAY_UNDERLAY_MISSING
 */
export function findUnderlay(route: NetlinkSocket, wanted: string): Underlay {
  const address = parseIp(wanted);
  if (address !== undefined) {
    const bytes = ipBytes(address);
    const holder = listSettings(route).find(({ index }) =>
      listAddresses(route, index).some((own) => Buffer.from(own.address).equals(bytes)),
    );
    if (holder === undefined) throw noUnderlay(wanted, 'this host has no such address');
    return { address: formatIp(address), mtu: holder.mtu };
  }
  const link = findLink(route, { name: wanted });
  if (link === undefined)
    throw noUnderlay(wanted, 'it is not an address, and this host has no link of that name');
  const found = listAddresses(route, link.index)
    .map(({ address: bytes }) => ipFromBytes(bytes))
    .filter(({ family, value }) => family === 4 || value >> 118n !== 0x3fan)
    .toSorted((a, b) => a.family - b.family)[0];
  if (found === undefined) throw noUnderlay(wanted, 'the link has no address that other hosts could send to');
  return { address: formatIp(found), mtu: link.mtu };
}

export interface EnsuredLink {
  readonly index: number;
  /** Whether anything differed. */
  readonly changed: boolean;
}

/** Brings the VXLAN link to this host's record. @throws OVERLAY_VXLAN_MISSING */
export function ensureVxlan(
  route: NetlinkSocket,
  own: Own & { readonly record: { readonly vxlan: VxlanEnd } },
  vni: number,
): EnsuredLink {
  const { vxlan, underlay, mtu } = own.record;
  const identity = { id: vni, port: vxlan.port, local: bytesOf(underlay) };
  const of = { kind: 'vxlan', ...identity, learning: false, proxy: false } as const;
  return ensureLink(route, own, { name: linkNames.vxlan, mtu, mac: macBytes(vxlan.mac), of }, (link) =>
    isThat(link, identity),
  );
}

/**
 * Brings the WireGuard link to this host's record, except for keys and peers. @throws
 * OVERLAY_WIREGUARD_MISSING
 */
export function ensureWireguard(route: NetlinkSocket, own: Own): EnsuredLink {
  const link = { name: linkNames.wireguard, mtu: own.record.mtu, of: { kind: 'wireguard' } } as const;
  return ensureLink(route, own, link, ({ kind }) => kind === 'wireguard');
}

/** @returns whether the link existed */
export function removeLink(route: NetlinkSocket, carrier: Carrier): boolean {
  const name = linkNames[carrier];
  if (findLink(route, { name }) === undefined) return false;
  route.run([deleteLink({ name })]);
  return true;
}

function ensureLink(
  route: NetlinkSocket,
  own: Own,
  wanted: NewLink,
  isWanted: (link: LinkSettings) => boolean,
): EnsuredLink {
  const { name } = wanted;
  let link = findLink(route, { name });
  if (link !== undefined && !isWanted(link)) {
    route.run([deleteLink({ name })]);
    link = undefined;
  }
  const made = link === undefined;
  if (link === undefined) {
    try {
      route.run([createLink(wanted)]);
    } catch (thrown) {
      if (isRefusal(thrown, 'EOPNOTSUPP')) throw wanted.of.kind === 'wireguard' ? noWireguard() : noVxlan();
      throw thrown;
    }
    link = findLink(route, { name });
    if (link === undefined) throw noUnderlay(name, 'the link disappeared while it was created');
  }
  const corrected = finishLink(route, link, own);
  return { index: link.index, changed: made || corrected };
}

/** Sets address, MTU, MAC and up. @returns whether anything differed */
function finishLink(route: NetlinkSocket, link: LinkSettings, { record, subnets }: Own): boolean {
  const wanted = subnets.map((subnet) => bytesOf(addressIn(subnet)));
  const existing = listAddresses(route, link.index).filter(
    ({ address }) => address.length === 4 || address[0] !== 0xfe,
  );
  const strange = existing.filter(
    ({ address }) => !wanted.some((bytes) => bytes.equals(Buffer.from(address))),
  );
  const absent = wanted.filter(
    (bytes) => !existing.some(({ address }) => bytes.equals(Buffer.from(address))),
  );
  const mac = record.vxlan?.mac;
  const requests = [
    ...(mac === undefined || link.mac === mac ? [] : [setMac(link.index, mac)]),
    ...(link.mtu === record.mtu ? [] : [setMtu(link.index, record.mtu)]),
    ...strange.map(({ address, length }) => deleteAddress(link.index, address, length)),
    ...absent.map((address) =>
      putAddress(link.index, { address, length: address.length * 8 }, { prefixRoute: false }),
    ),
    ...(link.up ? [] : [setFlag(link.index, 'up', true)]),
  ];
  // A kernel without IPv6 refuses this. It creates no such addresses anyway.
  if (!link.up) route.exchange([acknowledged(setNoOwnIpv6({ index: link.index }))]);
  route.run(requests);
  return requests.length > 0;
}

const isThat = (
  link: LinkSettings,
  { id, port, local }: { id: number; port: number; local: Buffer },
): boolean =>
  link.kind === 'vxlan' &&
  link.data.get(1)?.readUInt32LE(0) === id &&
  link.data.get(15)?.readUInt16BE(0) === port &&
  (link.data.get(4) ?? link.data.get(17))?.equals(local) === true;

function noUnderlay(wanted: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'OVERLAY_UNDERLAY_MISSING',
    kind: 'precondition',
    attempted: 'find the address for other hosts to send to',
    on: wanted,
    why,
    fix: 'set `network.overlay.underlay` to a link of this host that has an address, or to an address of this host',
  });
}

const noVxlan = (): PortcullisError =>
  missing('OVERLAY_VXLAN_MISSING', 'vxlan', 'use a kernel with CONFIG_VXLAN, or load the module vxlan');

export const noWireguard = (): PortcullisError =>
  missing(
    'OVERLAY_WIREGUARD_MISSING',
    'wireguard',
    'use a kernel with CONFIG_WIREGUARD, or load the module wireguard; nothing is sent unencrypted instead, unless `network.overlay.encryption` is none',
  );

function missing(code: string, carrier: Carrier, fix: string): PortcullisError {
  return new PortcullisError({
    code,
    kind: 'precondition',
    attempted: 'create the link of the overlay',
    on: linkNames[carrier],
    why: `the kernel has no ${carrier}`,
    fix,
  });
}
