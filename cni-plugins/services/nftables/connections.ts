import { NETLINK_ROUTE } from '../../../base/kernel/index.ts';
import { forget, listConnections, openNetlink, toThisHost } from '../../../base/netlink/index.ts';
import type { TrackedConnection, NetlinkSocket } from '../../../base/netlink/index.ts';
import { formatIp, ipFromBytes } from '../../../base/addresses/index.ts';
import { keyOf } from '../model/model.ts';
import type { Destination, Family, ServerCounts, ServerKey, VirtualServer } from '../model/model.ts';
import { mayConnect } from '../source-ranges/ranges.ts';
import { addressBytes, protocolNumbers } from './elements.ts';
import { nameOf } from './plan.ts';

/** Connections of virtual servers: which to forget, and how many are established. */

const familyNumber = (family: Family): 2 | 10 => (family === 4 ? 2 : 10);
const names: Readonly<Record<number, VirtualServer['protocol']>> = { 6: 'tcp', 17: 'udp', 132: 'sctp' };

/** Returns the destination that answers, in the form of {@link nameOf}. */
const answererOf = ({ answeredBy, answeringPort }: TrackedConnection): string =>
  `${formatIp(ipFromBytes(answeredBy))} ${answeringPort}`;

/** Returns a destination with its address in the form in which the kernel's addresses are formatted. */
const canonical = (destination: Pick<Destination, 'address' | 'port'>): string =>
  nameOf({ address: formatIp(ipFromBytes(addressBytes(destination.address))), port: destination.port });

/** Returns a lookup by key: the server at the address, or the node port. */
function finder(
  servers: readonly VirtualServer[],
): (connection: TrackedConnection, family: Family) => VirtualServer | undefined {
  const byKey = new Map(
    servers.map((server) => [
      `${server.protocol} ${server.address === undefined ? '*' : addressBytes(server.address).toString('hex')} ${server.port}`,
      server,
    ]),
  );
  return ({ protocol, to, portTo }) => {
    const name = names[protocol];
    return byKey.get(`${name} ${to.toString('hex')} ${portTo}`) ?? byKey.get(`${name} * ${portTo}`);
  };
}

/**
 * Forgets UDP connections that none of a server's destinations answers. A sender that never pauses would
 * otherwise go on forever to a removed destination, or to the address itself from before it was served. It
 * also forgets connections that were never answered and may not connect any more. Lists the connections once
 * for all servers. TCP ends by itself, or is cut.
 * @param own the host's address of the family
 */
export function forgetStale(
  filter: NetlinkSocket,
  family: Family,
  servers: readonly VirtualServer[],
  own?: Uint8Array,
): void {
  const udp = servers.filter(({ protocol }) => protocol === 'udp');
  const [only] = udp;
  if (only === undefined) return;
  const narrow =
    udp.length === 1 && only.address !== undefined
      ? { to: addressBytes(only.address), portTo: only.port }
      : {};
  const find = finder(udp);
  const answering = new Map(udp.map((server) => [server, new Set(server.destinations.map(canonical))]));
  const stale: TrackedConnection[] = [];
  const perhapsElsewhere: TrackedConnection[] = [];
  for (const connection of listConnections(filter, familyNumber(family), {
    protocol: protocolNumbers.udp,
    ...narrow,
  })) {
    const server = find(connection, family);
    if (server === undefined) continue;
    const isStale =
      answering.get(server)?.has(answererOf(connection)) === false ||
      !(connection.answered || mayConnect(server, own, connection.from));
    if (isStale) (server.address === undefined ? perhapsElsewhere : stale).push(connection);
  }
  forget(filter, familyNumber(family), stale);
  forget(filter, familyNumber(family), toAddressesOfHost(perhapsElsewhere));
}

/**
 * Forgets the connections to the server that the destination answers. Returns how many there were.
 * @param isServed whether a server with its own address has the key: the connections to it are not to a node
 * port
 */
export function cutConnections(
  filter: NetlinkSocket,
  server: VirtualServer,
  destination: Pick<Destination, 'address' | 'port'>,
  isServed: (key: ServerKey) => boolean,
): number {
  const number = familyNumber(server.family);
  const answerer = canonical(destination);
  const answered = listConnections(filter, number, {
    protocol: protocolNumbers[server.protocol],
    portTo: server.port,
    ...(server.address === undefined ? {} : { to: addressBytes(server.address) }),
  }).filter((connection) => answererOf(connection) === answerer);
  const found = server.address === undefined ? toNodePort(server, answered, isServed) : answered;
  forget(filter, number, found);
  return found.length;
}

/** Returns the connections that are not to a server at this port with its own address. */
function toNodePort(
  { family, protocol, port }: VirtualServer,
  connections: readonly TrackedConnection[],
  isServed: (key: ServerKey) => boolean,
): readonly TrackedConnection[] {
  const byAddress = Map.groupBy(connections, ({ to }) => formatIp(ipFromBytes(to)));
  for (const address of [...byAddress.keys()])
    if (isServed(keyOf({ family, protocol, address, port }))) byAddress.delete(address);
  return toAddressesOfHost([...byAddress.values()].flat());
}

/** A node port is served at the host's addresses only. Others have services and peers at this port, too. */
function toAddressesOfHost(connections: readonly TrackedConnection[]): readonly TrackedConnection[] {
  if (connections.length === 0) return [];
  using route = openNetlink(NETLINK_ROUTE);
  return toThisHost(route, connections);
}

/** Counts established connections by server and destination, without those that are ending. */
export function activeCounts(
  filter: NetlinkSocket,
  family: Family,
  servers: readonly VirtualServer[],
): ReadonlyMap<ServerKey, ReadonlyMap<string, number>> {
  const find = finder(servers);
  const counts = new Map<ServerKey, Map<string, number>>();
  for (const connection of listConnections(filter, familyNumber(family))) {
    const server = connection.ending ? undefined : find(connection, family);
    if (server === undefined) continue;
    const key = keyOf(server);
    const own = counts.get(key) ?? new Map<string, number>();
    const name = answererOf(connection);
    own.set(name, (own.get(name) ?? 0) + 1);
    counts.set(key, own);
  }
  return counts;
}

/**
 * @param find returns an existing server by its key
 * @param of only these servers, if they exist; absent: those that have connections
 */
export function countsOf(
  filter: NetlinkSocket,
  family: Family,
  find: (key: ServerKey) => VirtualServer | undefined,
  of?: ReadonlySet<ServerKey>,
): ServerCounts[] {
  const active = new Map<ServerKey, Map<string, number>>([...(of ?? [])].map((key) => [key, new Map()]));
  const servers = new Map<ServerKey, VirtualServer | undefined>();
  const serverAt = (key: ServerKey): VirtualServer | undefined => {
    if (!servers.has(key)) servers.set(key, find(key));
    return servers.get(key);
  };
  for (const connection of listConnections(filter, familyNumber(family))) {
    const protocol = names[connection.protocol];
    if (connection.ending || protocol === undefined) continue;
    const address = formatIp(ipFromBytes(connection.to));
    const key = [
      keyOf({ family, protocol, address, port: connection.portTo }),
      keyOf({ family, protocol, port: connection.portTo }),
    ].find((each) => serverAt(each) !== undefined);
    if (key === undefined || of?.has(key) === false) continue;
    const own = active.get(key) ?? new Map<string, number>();
    const name = answererOf(connection);
    active.set(key, own.set(name, (own.get(name) ?? 0) + 1));
  }
  return [...active].flatMap(([key, own]) => {
    const destinations = serverAt(key)?.destinations;
    if (destinations === undefined) return [];
    return [
      {
        key,
        destinations: destinations.map(({ address, port }) => ({
          address,
          port,
          active: own.get(canonical({ address, port })) ?? 0,
        })),
      },
    ];
  });
}
