import { attribute, attributesOf, be16, nested, u32, u8 } from '../protocol/wire.ts';
import { tolerating } from '../protocol/kernel-failure.ts';
import type { NetlinkSocket, Request } from '../protocol/socket.ts';
import type { Received } from '../protocol/wire.ts';

/** Tracked connections over ctnetlink. Source: linux/netfilter/nfnetlink_conntrack.h. */

const NFNL_SUBSYS_CTNETLINK = 1;
const IPCTNL_MSG_CT_GET = 1;
const IPCTNL_MSG_CT_DELETE = 2;
const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_STATUS = 3;
const CTA_PROTOINFO = 4;
const CTA_ID = 12;
const CTA_FILTER = 25;
const [CTA_TUPLE_IP, CTA_TUPLE_PROTO] = [1, 2];
const [CTA_IP_V4_SRC, CTA_IP_V4_DST, CTA_IP_V6_SRC, CTA_IP_V6_DST] = [1, 2, 3, 4];
const [CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT] = [1, 2, 3];
const [CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE] = [1, 1];
/** From the kernel's net/netfilter/nf_internals.h (since 5.8). */
const filterBy = { protocol: 1 << 3, portTo: 1 << 5 } as const;
const IPS_SEEN_REPLY = 1 << 1;
const [TCP_CONNTRACK_FIN_WAIT, TCP_CONNTRACK_SYN_SENT2] = [4, 9];

/** @param family AF_INET or AF_INET6 @param message IPCTNL_MSG_CT_* */
const conntrackRequest = (
  what: string,
  family: 2 | 10,
  message: number,
  ...attributes: readonly Uint8Array[]
): Request => ({
  what,
  on: 'conntrack',
  type: (NFNL_SUBSYS_CTNETLINK << 8) | message,
  body: Buffer.concat([Buffer.of(family, 0, 0, 0), ...attributes]),
});

export interface TrackedConnection {
  readonly protocol: number;
  readonly from: Buffer;
  /** The address to which the connection was first sent. */
  readonly to: Buffer;
  readonly portTo: number;
  /** The address that answers. It differs from `to` if the destination was translated. */
  readonly answeredBy: Buffer;
  readonly answeringPort: number;
  /** A packet came back. */
  readonly answered: boolean;
  /** A TCP connection that is being closed, or was closed. */
  readonly ending: boolean;
  /** For {@link forget}. */
  readonly key: readonly Uint8Array[];
}

/** Narrows a listing by what the connections were first sent to. */
export interface Narrowing {
  readonly protocol?: number;
  readonly to?: Uint8Array;
  readonly portTo?: number;
}

/**
 * Lists connections. The kernel walks its whole table for it, which takes 10 ms for an empty table. The
 * kernel narrows by protocol and port. It does not narrow by address: for IPv6 it would list all connections
 * except the wanted one (ctnetlink_filter_match_tuple, seen in 6.18).
 * @param family AF_INET or AF_INET6
 */
export function listConnections(
  socket: NetlinkSocket,
  family: 2 | 10,
  { protocol, to, portTo }: Narrowing = {},
): TrackedConnection[] {
  // The kernel ignores a port without a protocol.
  const filter =
    protocol === undefined
      ? []
      : [
          nested(
            CTA_TUPLE_ORIG,
            nested(
              CTA_TUPLE_PROTO,
              attribute(CTA_PROTO_NUM, u8(protocol)),
              ...(portTo === undefined ? [] : [attribute(CTA_PROTO_DST_PORT, be16(portTo))]),
            ),
          ),
          nested(
            CTA_FILTER,
            attribute(1, u32(filterBy.protocol | (portTo === undefined ? 0 : filterBy.portTo))),
            attribute(2, u32(0)),
          ),
        ];
  return socket
    .dump(conntrackRequest('list connections', family, IPCTNL_MSG_CT_GET, ...filter))
    .flatMap((message) => readConnection(message) ?? [])
    .filter(
      (connection) =>
        (to === undefined || connection.to.equals(to)) &&
        (portTo === undefined || connection.portTo === portTo),
    );
}

const none = Buffer.alloc(0);

function readConnection(message: Received): TrackedConnection | undefined {
  const attributes = attributesOf(message.body, 4);
  const original = attributes.get(CTA_TUPLE_ORIG);
  const reply = attributes.get(CTA_TUPLE_REPLY);
  const id = attributes.get(CTA_ID);
  if (original === undefined || reply === undefined || id === undefined) return undefined;
  const [first, back] = [attributesOf(original), attributesOf(reply)];
  const [firstIp, backIp] = [
    attributesOf(first.get(CTA_TUPLE_IP) ?? none),
    attributesOf(back.get(CTA_TUPLE_IP) ?? none),
  ];
  const [firstProto, backProto] = [
    attributesOf(first.get(CTA_TUPLE_PROTO) ?? none),
    attributesOf(back.get(CTA_TUPLE_PROTO) ?? none),
  ];
  const from = firstIp.get(CTA_IP_V4_SRC) ?? firstIp.get(CTA_IP_V6_SRC);
  const to = firstIp.get(CTA_IP_V4_DST) ?? firstIp.get(CTA_IP_V6_DST);
  const answeredBy = backIp.get(CTA_IP_V4_SRC) ?? backIp.get(CTA_IP_V6_SRC);
  const protocol = firstProto.get(CTA_PROTO_NUM);
  const portTo = firstProto.get(CTA_PROTO_DST_PORT);
  const answeringPort = backProto.get(CTA_PROTO_SRC_PORT);
  // The protocol has no ports.
  if (!from || !to || !answeredBy || !protocol || !portTo || !answeringPort) return undefined;
  const tcp = attributesOf(attributes.get(CTA_PROTOINFO) ?? none).get(CTA_PROTOINFO_TCP) ?? none;
  const state = attributesOf(tcp).get(CTA_PROTOINFO_TCP_STATE)?.[0] ?? 0;
  return {
    protocol: protocol.readUInt8(0),
    from,
    to,
    portTo: portTo.readUInt16BE(0),
    answeredBy,
    answeringPort: answeringPort.readUInt16BE(0),
    answered: ((attributes.get(CTA_STATUS)?.readUInt32BE(0) ?? 0) & IPS_SEEN_REPLY) !== 0,
    ending: state >= TCP_CONNTRACK_FIN_WAIT && state < TCP_CONNTRACK_SYN_SENT2,
    key: [attribute(CTA_TUPLE_ORIG | 0x8000, original), attribute(CTA_ID, id)],
  };
}

/**
 * Forgets connections: the next packet of each begins a new one. A connection that has ended meanwhile is not
 * an error.
 */
export function forget(
  socket: NetlinkSocket,
  family: 2 | 10,
  connections: readonly TrackedConnection[],
): void {
  forgetKeys(
    socket,
    family,
    connections.map(({ key }) => key),
  );
}

function forgetKeys(socket: NetlinkSocket, family: 2 | 10, keys: readonly TrackedConnection['key'][]): void {
  if (keys.length > 0)
    socket.send(
      keys.map((key) => conntrackRequest('forget a connection', family, IPCTNL_MSG_CT_DELETE, ...key)),
    );
}

/** Bits of the kernel's net/netfilter/nf_internals.h (since 5.8): the source address of a tuple. */
const filterBySource = 1;
/** A walk of the kernel's table per address costs less than a list of a full table up to this number. */
const mostWalks = 4;
/** How kernels refuse a list that have no connection tracking, and so no connections. */
const untracked = ['EINVAL', 'EOPNOTSUPP', 'ENOENT', 'EPROTONOSUPPORT'] as const;

/**
 * Forgets all connections that begin or end at one of the addresses, of any protocol. An address that another
 * holder gets must have none: its answers would count as those of the former holder, whatever the rules for
 * new connections are.
 * @param addresses of 4 or 16 bytes
 * @throws NETWORK_KERNEL_…
 */
export function forgetAddresses(socket: NetlinkSocket, addresses: readonly Uint8Array[]): void {
  for (const [family, length] of [
    [2, 4],
    [10, 16],
  ] as const) {
    const those = addresses.filter((address) => address.length === length);
    if (those.length === 0) continue;
    tolerating(untracked, () => forgetKeys(socket, family, keysOfAddresses(socket, family, those)));
  }
}

function keysOfAddresses(
  socket: NetlinkSocket,
  family: 2 | 10,
  addresses: readonly Uint8Array[],
): TrackedConnection['key'][] {
  const list = (...filter: readonly Buffer[]): readonly Received[] =>
    socket.dump(conntrackRequest('list connections', family, IPCTNL_MSG_CT_GET, ...filter));
  const filtered = (address: Uint8Array, tuple: number): readonly Received[] =>
    list(
      nested(tuple, nested(CTA_TUPLE_IP, attribute(CTA_IP_V4_SRC, address))),
      nested(
        CTA_FILTER,
        attribute(1, u32(tuple === CTA_TUPLE_ORIG ? filterBySource : 0)),
        attribute(2, u32(tuple === CTA_TUPLE_REPLY ? filterBySource : 0)),
      ),
    );
  // As for `listConnections`: IPv6 is not narrowed by address.
  const found =
    family === 2 && addresses.length <= mostWalks
      ? addresses.flatMap((address) =>
          [CTA_TUPLE_ORIG, CTA_TUPLE_REPLY].flatMap((tuple) => filtered(address, tuple)),
        )
      : list();
  const wanted = new Set(addresses.map((address) => Buffer.from(address).toString('hex')));
  const isWanted = (tuple: Buffer): boolean => {
    const ends = attributesOf(attributesOf(tuple).get(CTA_TUPLE_IP) ?? none);
    return (family === 2 ? [CTA_IP_V4_SRC, CTA_IP_V4_DST] : [CTA_IP_V6_SRC, CTA_IP_V6_DST]).some((type) =>
      wanted.has(ends.get(type)?.toString('hex') ?? ''),
    );
  };
  return found.flatMap(({ body }) => {
    // Nearly all connections of a full list are of other addresses.
    if (!addresses.some((address) => body.includes(address))) return [];
    const attributes = attributesOf(body, 4);
    const [original, reply, id] = [CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_ID].map((type) =>
      attributes.get(type),
    );
    if (original === undefined || reply === undefined || id === undefined) return [];
    if (!isWanted(original) && !isWanted(reply)) return [];
    return [[attribute(CTA_TUPLE_ORIG | 0x8000, original), attribute(CTA_ID, id)]];
  });
}
