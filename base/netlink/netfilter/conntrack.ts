import { attribute, attributesOf, nested, u32, u8 } from '../protocol/wire.ts';
import { conntrackRequest } from './conntrack-request.ts';
import type { NetlinkSocket } from '../protocol/socket.ts';
import type { Received } from '../protocol/wire.ts';

/** Connection tracking over ctnetlink, for host ports. Source: linux/netfilter/nfnetlink_conntrack.h. */

const IPCTNL_MSG_CT_GET = 1;
const IPCTNL_MSG_CT_DELETE = 2;
const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_ID = 12;
const CTA_FILTER = 25;
const CTA_FILTER_ORIG_FLAGS = 1;
const CTA_FILTER_REPLY_FLAGS = 2;
const CTA_TUPLE_IP = 1;
const CTA_TUPLE_PROTO = 2;
const CTA_IP_V4_SRC = 1;
const CTA_IP_V6_SRC = 3;
const CTA_PROTO_NUM = 1;
const CTA_PROTO_DST_PORT = 3;
/** CTA_FILTER_F_CTA_PROTO_NUM of the kernel's net/netfilter/nf_internals.h (since 5.8). */
const filterByProtocol = 1 << 3;

/** The fields of a connection that matter for host ports. */
interface Connection {
  readonly protocol: number;
  /** The port to which the connection was first sent. */
  readonly port: number;
  /** The address that answers: the pod's, if the destination was translated. */
  readonly answeredBy: Buffer;
  readonly key: readonly Uint8Array[];
}

function readConnection(message: Received): Connection | undefined {
  const attributes = attributesOf(message.body, 4);
  const original = attributes.get(CTA_TUPLE_ORIG);
  const reply = attributes.get(CTA_TUPLE_REPLY);
  const id = attributes.get(CTA_ID);
  if (original === undefined || reply === undefined || id === undefined) return undefined;
  const proto = attributesOf(attributesOf(original).get(CTA_TUPLE_PROTO) ?? Buffer.alloc(0));
  const address = attributesOf(attributesOf(reply).get(CTA_TUPLE_IP) ?? Buffer.alloc(0));
  const answeredBy = address.get(CTA_IP_V4_SRC) ?? address.get(CTA_IP_V6_SRC);
  const port = proto.get(CTA_PROTO_DST_PORT);
  const protocol = proto.get(CTA_PROTO_NUM);
  if (answeredBy === undefined || port === undefined || protocol === undefined) return undefined;
  return {
    protocol: protocol.readUInt8(0),
    port: port.readUInt16BE(0),
    answeredBy,
    key: [attribute(CTA_TUPLE_ORIG | 0x8000, original), attribute(CTA_ID, id)],
  };
}

/** Connections of one protocol to a port of the host that must not go on as they are. */
export interface StalePort {
  readonly family: 2 | 10;
  readonly protocol: number;
  readonly port: number;
  /** Connections that this address (4 or 16 bytes) answers stay. */
  readonly unless?: Uint8Array;
}

/**
 * Forgets connections, so that their next packet is translated again. Without this, a UDP sender that never
 * pauses goes on to the former holder of a port. The kernel walks its whole table for the list (10 ms), once
 * for all ports of a family and protocol.
 */
export function forgetConnections(socket: NetlinkSocket, stale: readonly StalePort[]): void {
  for (const ports of Map.groupBy(stale, ({ family, protocol }) => `${family} ${protocol}`).values())
    forgetGroup(socket, ports);
}

/**
 * Returns the test whether a connection has to be forgotten. There may be a hundred thousand connections and
 * as many ports.
 */
export function staleAmong(
  stale: readonly StalePort[],
): (connection: Pick<Connection, 'protocol' | 'port' | 'answeredBy'>) => boolean {
  const byPort = Map.groupBy(stale, ({ port }) => port);
  return ({ protocol: spoken, port, answeredBy }) =>
    byPort
      .get(port)
      ?.some(
        ({ protocol, unless }) => protocol === spoken && (unless === undefined || !answeredBy.equals(unless)),
      ) === true;
}

function forgetGroup(socket: NetlinkSocket, stale: readonly StalePort[]): void {
  const first = stale[0];
  if (first === undefined) return;
  const filter = [
    nested(CTA_TUPLE_ORIG, nested(CTA_TUPLE_PROTO, attribute(CTA_PROTO_NUM, u8(first.protocol)))),
    nested(
      CTA_FILTER,
      attribute(CTA_FILTER_ORIG_FLAGS, u32(filterByProtocol)),
      attribute(CTA_FILTER_REPLY_FLAGS, u32(0)),
    ),
  ];
  const isStale = staleAmong(stale);
  const found = socket
    .dump(conntrackRequest('list connections', first.family, IPCTNL_MSG_CT_GET, ...filter))
    .flatMap((message) => readConnection(message) ?? []);
  // ENOENT means that the connection has ended meanwhile, which is not an error.
  socket.send(
    found
      .filter(isStale)
      .map(({ key }) => conntrackRequest('forget a connection', first.family, IPCTNL_MSG_CT_DELETE, ...key)),
  );
}
