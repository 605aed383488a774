import {
  attribute,
  attributesOf,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_REPLACE,
  zeros,
} from '../protocol/wire.ts';
import type { NetlinkSocket, Request } from '../protocol/socket.ts';
import { RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH } from './message-numbers.ts';

/** rtnetlink: neighbours, and the forwarding database of a VXLAN. Source: linux/neighbour.h, bridge(8). */

const AF_BRIDGE = 7;
const NDA_DST = 1;
const NDA_LLADDR = 2;
const NUD_PERMANENT = 0x80;
const NTF_SELF = 0x02;

/**
 * The remote to which a VXLAN sends frames for a MAC address. Six zero bytes mean broadcast, multicast and
 * unknown addresses.
 */
export interface ForwardingEntry {
  readonly mac: Uint8Array;
  /** 4 or 16 bytes. */
  readonly remote: Uint8Array;
}

export interface Neighbour {
  readonly address: Uint8Array;
  readonly mac: Uint8Array;
}

function forwardingRequest(
  what: string,
  type: number,
  flags: number,
  index: number,
  entry: ForwardingEntry,
): Request {
  const place = { family: AF_BRIDGE, index, flags: NTF_SELF };
  return request(what, type, flags, place, { address: entry.remote, mac: entry.mac });
}

function neighbourRequest(
  what: string,
  type: number,
  flags: number,
  index: number,
  entry: Neighbour,
): Request {
  return request(what, type, flags, { family: entry.address.length === 4 ? 2 : 10, index, flags: 0 }, entry);
}

/** `place` has the fields of struct ndmsg. */
function request(
  what: string,
  type: number,
  flags: number,
  place: { readonly family: number; readonly index: number; readonly flags: number },
  { address, mac }: Neighbour,
): Request {
  const header = zeros(12); // struct ndmsg
  header.writeUInt8(place.family, 0);
  header.writeInt32LE(place.index, 4);
  header.writeUInt16LE(NUD_PERMANENT, 8);
  header.writeUInt8(place.flags, 10);
  return {
    what,
    on: `#${place.index}`,
    type,
    flags,
    body: Buffer.concat([header, attribute(NDA_DST, address), attribute(NDA_LLADDR, mac)]),
  };
}

const isZero = (mac: Uint8Array): boolean => mac.every((byte) => byte === 0);

/**
 * The all-zero entry may have many remotes. Any other MAC address has one, and it is replaced. Refused
 * (EEXIST) if the same all-zero entry exists.
 */
export function addForwarding(index: number, entry: ForwardingEntry): Request {
  const flags = NLM_F_CREATE | (isZero(entry.mac) ? NLM_F_APPEND : NLM_F_REPLACE);
  return forwardingRequest('add a forwarding entry', RTM_NEWNEIGH, flags, index, entry);
}

/** Refused (ENOENT) if there is none. */
export function deleteForwarding(index: number, entry: ForwardingEntry): Request {
  return forwardingRequest('delete a forwarding entry', RTM_DELNEIGH, 0, index, entry);
}

/** Returns the request that adds or replaces a neighbour of a link. */
export function putNeighbour(index: number, neighbour: Neighbour): Request {
  return neighbourRequest('add a neighbour', RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, index, neighbour);
}

/** Refused (ENOENT) if there is none. */
export function deleteNeighbour(index: number, neighbour: Neighbour): Request {
  return neighbourRequest('delete a neighbour', RTM_DELNEIGH, 0, index, neighbour);
}

function list(
  socket: NetlinkSocket,
  family: number,
  index: number,
): { dst: Buffer; mac: Buffer; permanent: boolean }[] {
  const header = zeros(12);
  header.writeUInt8(family, 0);
  return socket
    .dump({ what: 'list neighbours', on: `#${index}`, type: RTM_GETNEIGH, body: header })
    .flatMap((message) => {
      const attributes = attributesOf(message.body, 12);
      const dst = attributes.get(NDA_DST);
      const mac = attributes.get(NDA_LLADDR);
      if (message.body.readInt32LE(4) !== index || dst === undefined || mac === undefined) return [];
      return [{ dst, mac, permanent: (message.body.readUInt16LE(8) & NUD_PERMANENT) !== 0 }];
    });
}

/** Lists the forwarding entries of a link. */
export function listForwarding(socket: NetlinkSocket, index: number): ForwardingEntry[] {
  return list(socket, AF_BRIDGE, index).map(({ dst, mac }) => ({ mac, remote: dst }));
}

/** Returns permanent neighbours only. */
export function listNeighbours(socket: NetlinkSocket, index: number): Neighbour[] {
  return [2, 10].flatMap((family) =>
    list(socket, family, index).flatMap(({ dst, mac, permanent }) =>
      permanent ? [{ address: dst, mac }] : [],
    ),
  );
}
