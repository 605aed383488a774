import { ipBytes, ipFromBytes } from '../../addresses/index.ts';
import type { IpAddress, IpPrefix } from '../../addresses/index.ts';
import { genlBody, genlHeader } from './genl.ts';
import type { Request } from '../protocol/socket.ts';
import {
  attribute,
  attributesOf,
  be16,
  elementsOf,
  nested,
  NLM_F_ACK,
  text,
  u16,
  u32,
} from '../protocol/wire.ts';
import type { Received } from '../protocol/wire.ts';

/**
 * WireGuard over generic netlink: a device's key and port, and its peers. Pure. Source: linux/wireguard.h.
 * Keys are 32 bytes as base64, as wg(8) writes them.
 */

export const wireguardFamilyName = 'wireguard';
const version = 1;
const WG_CMD_GET_DEVICE = 0;
const WG_CMD_SET_DEVICE = 1;
const device = { name: 2, privateKey: 3, publicKey: 4, flags: 5, port: 6, mark: 7, peers: 8 } as const;
const WGDEVICE_F_REPLACE_PEERS = 1;
const peer = {
  publicKey: 1,
  presharedKey: 2,
  flags: 3,
  endpoint: 4,
  keepalive: 5,
  lastHandshake: 6,
  received: 7,
  sent: 8,
  allowed: 9,
} as const;
const WGPEER_F_REMOVE_ME = 1;
const WGPEER_F_REPLACE_ALLOWEDIPS = 2;
const allowedIp = { family: 1, address: 2, length: 3 } as const;
const AF_INET = 2;
const AF_INET6 = 10;

/** The address to which packets for a peer are sent. */
export interface WireguardEndpoint {
  readonly address: IpAddress;
  readonly port: number;
}

export interface WireguardPeer {
  readonly publicKey: string;
  readonly endpoint?: WireguardEndpoint;
  /**
   * Prefixes from which the peer may send, and to which packets go through it. A prefix belongs to one peer:
   * the last one that got it.
   */
  readonly allowed: readonly IpPrefix[];
  /** Seconds between packets that keep the session alive; 0 for none. */
  readonly keepaliveSeconds: number;
}

/**
 * A change of a peer. Absent fields stay unchanged. `allowed` replaces the whole list. A missing peer is
 * created.
 */
export type WireguardPeerChange =
  | ({
      readonly publicKey: string;
      /** A second secret of both ends. See {@link noPresharedKey}. */
      readonly presharedKey?: string;
    } & Partial<WireguardPeer>)
  | { readonly publicKey: string; readonly remove: true };

/** A peer as the kernel lists it. */
export interface ListedWireguardPeer extends WireguardPeer {
  readonly hasPresharedKey: boolean;
  /** Time of the last handshake, by the clock of the machine; 0 if there was none. */
  readonly lastHandshakeMs: number;
  readonly receivedBytes: number;
  readonly sentBytes: number;
}

export interface WireguardDevice {
  /** Absent while the device has no private key. */
  readonly publicKey?: string;
  readonly port: number;
  /** The firewall mark of the packets that the device sends; 0 for none. */
  readonly mark: number;
  readonly peers: readonly ListedWireguardPeer[];
}

export interface WireguardDeviceChange {
  readonly privateKey?: string;
  readonly port?: number;
  readonly mark?: number;
  readonly replacePeers?: boolean;
  readonly peers?: readonly WireguardPeerChange[];
}

const keyLength = 32;
/** Removes the preshared key of a peer. */
export const noPresharedKey = Buffer.alloc(keyLength).toString('base64');
/** The list of peers is one attribute, whose length is 16 bits. */
const peerBytesPerMessage = 32 * 1024;
/** The most entries in one part of a list of allowed prefixes. */
const allowedPerPart = 256;

/** @throws if the text is not a key; callers validate it before */
function keyBytes(key: string): Buffer {
  const bytes = Buffer.from(key, 'base64');
  if (bytes.length !== keyLength) throw new Error('a WireGuard key has 32 bytes');
  return bytes;
}

/** struct sockaddr_in or sockaddr_in6: the family in the machine's order, the port in network order. */
function socketAddress({ address, port }: WireguardEndpoint): Buffer {
  const bytes = ipBytes(address);
  return address.family === 4
    ? Buffer.concat([u16(AF_INET), be16(port), bytes, Buffer.alloc(8)])
    : Buffer.concat([u16(AF_INET6), be16(port), Buffer.alloc(4), bytes, Buffer.alloc(4)]);
}

function readSocketAddress(bytes: Buffer | undefined): WireguardEndpoint | undefined {
  const family = bytes !== undefined && bytes.length >= 16 ? bytes.readUInt16LE(0) : undefined;
  if (bytes === undefined || (family !== AF_INET && family !== AF_INET6)) return undefined;
  const address = family === AF_INET ? bytes.subarray(4, 8) : bytes.subarray(8, 24);
  return { address: ipFromBytes(address), port: bytes.readUInt16BE(2) };
}

const allowedAttribute = ({ address, length }: IpPrefix): Buffer =>
  nested(
    0,
    attribute(allowedIp.family, u16(address.family === 4 ? AF_INET : AF_INET6)),
    attribute(allowedIp.address, ipBytes(address)),
    attribute(allowedIp.length, Buffer.of(length)),
  );

/**
 * Encodes a peer. A peer with many prefixes takes several parts, and all but the first add to the existing
 * prefixes.
 */
function peerParts(change: WireguardPeerChange): Buffer[] {
  const key = attribute(peer.publicKey, keyBytes(change.publicKey));
  if ('remove' in change) return [nested(0, key, attribute(peer.flags, u32(WGPEER_F_REMOVE_ME)))];
  const { endpoint, allowed, keepaliveSeconds, presharedKey } = change;
  const first = [
    key,
    ...(presharedKey === undefined ? [] : [attribute(peer.presharedKey, keyBytes(presharedKey))]),
    ...(allowed === undefined ? [] : [attribute(peer.flags, u32(WGPEER_F_REPLACE_ALLOWEDIPS))]),
    ...(endpoint === undefined ? [] : [attribute(peer.endpoint, socketAddress(endpoint))]),
    ...(keepaliveSeconds === undefined ? [] : [attribute(peer.keepalive, u16(keepaliveSeconds))]),
  ];
  if (allowed === undefined || allowed.length === 0) return [nested(0, ...first)];
  const parts: Buffer[] = [];
  for (let at = 0; at < allowed.length; at += allowedPerPart)
    parts.push(
      nested(
        0,
        ...(at === 0 ? first : [key]),
        nested(peer.allowed, ...allowed.slice(at, at + allowedPerPart).map(allowedAttribute)),
      ),
    );
  return parts;
}

/** Requests for one resolved family number and one link. */
export interface WireguardRequests {
  /**
   * For a dump. Read by {@link readWireguard}. Refused (ENODEV) if there is no such link, (EOPNOTSUPP) if it
   * is not a WireGuard link.
   */
  getDevice(): Request;
  /**
   * Changes peers in order. A long list takes several requests, and the first one has the other settings. No
   * error contains the private key.
   */
  setDevice(change: WireguardDeviceChange): Request[];
}

/**
 * Returns the requests of a WireGuard link.
 * @param family the kernel's number for `wireguard` (`familyNumber` of genl.ts)
 */
export function wireguardRequests(family: number, link: string): WireguardRequests {
  const request = (what: string, command: number, flags: number, attributes: readonly Buffer[]): Request => ({
    what,
    on: link,
    type: family,
    flags,
    body: Buffer.concat([genlHeader(command, version), attribute(device.name, text(link)), ...attributes]),
  });
  return {
    getDevice: () => request('read the WireGuard link', WG_CMD_GET_DEVICE, 0, []),
    setDevice({ privateKey, port, mark, replacePeers, peers = [] }) {
      const own = [
        ...(privateKey === undefined ? [] : [attribute(device.privateKey, keyBytes(privateKey))]),
        ...(port === undefined ? [] : [attribute(device.port, u16(port))]),
        ...(mark === undefined ? [] : [attribute(device.mark, u32(mark))]),
        ...(replacePeers === true ? [attribute(device.flags, u32(WGDEVICE_F_REPLACE_PEERS))] : []),
      ];
      const messages: Buffer[][] = [[]];
      let bytes = 0;
      for (const part of peers.flatMap(peerParts)) {
        if (bytes + part.length > peerBytesPerMessage) {
          messages.push([]);
          bytes = 0;
        }
        messages.at(-1)?.push(part);
        bytes += part.length;
      }
      return messages.map((parts, index) =>
        request('set the WireGuard link', WG_CMD_SET_DEVICE, NLM_F_ACK, [
          ...(index === 0 ? own : []),
          ...(parts.length === 0 ? [] : [nested(device.peers, ...parts)]),
        ]),
      );
    },
  };
}

/** Reads the messages of a dump. A peer whose prefixes did not fit continues in the next message. */
export function readWireguard(messages: readonly Pick<Received, 'body'>[]): WireguardDevice {
  let publicKey: string | undefined;
  let port = 0;
  let mark = 0;
  const peers: ListedWireguardPeer[] = [];
  for (const { body } of messages) {
    const { attributes } = genlBody(body);
    const key = attributes.get(device.publicKey);
    if (key !== undefined) publicKey = key.toString('base64');
    const given = attributes.get(device.port);
    if (given !== undefined && given.length >= 2) port = given.readUInt16LE(0);
    const marked = attributes.get(device.mark);
    if (marked !== undefined && marked.length >= 4) mark = marked.readUInt32LE(0);
    for (const element of elementsOf(attributes.get(device.peers))) {
      const read = readPeer(element);
      const before = peers.at(-1);
      if (before !== undefined && before.publicKey === read.publicKey)
        peers[peers.length - 1] = { ...before, allowed: [...before.allowed, ...read.allowed] };
      else peers.push(read);
    }
  }
  return { ...(publicKey !== undefined && { publicKey }), port, mark, peers };
}

function readPeer(element: Buffer): ListedWireguardPeer {
  const fields = attributesOf(element);
  const number = (value: Buffer | undefined): number =>
    value?.length === 8 ? Number(value.readBigUInt64LE(0)) : 0;
  const endpoint = readSocketAddress(fields.get(peer.endpoint));
  // struct __kernel_timespec: seconds and nanoseconds, 64 bits each.
  const handshake = fields.get(peer.lastHandshake);
  return {
    publicKey: (fields.get(peer.publicKey) ?? Buffer.alloc(0)).toString('base64'),
    hasPresharedKey: fields.get(peer.presharedKey)?.some((byte) => byte !== 0) ?? false,
    ...(endpoint !== undefined && { endpoint }),
    allowed: elementsOf(fields.get(peer.allowed)).flatMap((each) => {
      const prefix = attributesOf(each);
      const address = prefix.get(allowedIp.address);
      return address?.length === 4 || address?.length === 16
        ? [{ address: ipFromBytes(address), length: prefix.get(allowedIp.length)?.[0] ?? 0 }]
        : [];
    }),
    keepaliveSeconds: fields.get(peer.keepalive)?.readUInt16LE(0) ?? 0,
    lastHandshakeMs:
      handshake?.length === 16
        ? Number(handshake.readBigInt64LE(0)) * 1000 + Math.trunc(Number(handshake.readBigInt64LE(8)) / 1e6)
        : 0,
    receivedBytes: number(fields.get(peer.received)),
    sentBytes: number(fields.get(peer.sent)),
  };
}
