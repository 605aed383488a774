import { forget, listConnections } from './netfilter/connections.ts';
import type { TrackedConnection } from './netfilter/connections.ts';
import type { NetlinkSocket } from './protocol/socket.ts';
import { lookUpRoute } from './rtnetlink/routes.ts';

/** Tracked connections to ports of this host. */

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
 * @param filter @param route sockets in the network namespace of the host
 */
export function forgetConnections(
  filter: NetlinkSocket,
  route: NetlinkSocket,
  stale: readonly StalePort[],
): void {
  for (const ports of Map.groupBy(stale, ({ family, protocol }) => `${family} ${protocol}`).values()) {
    const [first] = ports;
    if (first === undefined) continue;
    const { family, protocol, port } = first;
    const narrow = ports.length === 1 ? { protocol, portTo: port } : { protocol };
    const found = listConnections(filter, family, narrow).filter(staleAmong(ports));
    forget(filter, family, toThisHost(route, found));
  }
}

/**
 * Returns the test whether a connection has to be forgotten. There may be a hundred thousand connections and
 * as many ports.
 */
export function staleAmong(
  stale: readonly StalePort[],
): (connection: Pick<TrackedConnection, 'answeredBy' | 'portTo' | 'protocol'>) => boolean {
  const byPort = Map.groupBy(stale, ({ port }) => port);
  return ({ protocol: spoken, portTo, answeredBy }) =>
    byPort
      .get(portTo)
      ?.some(
        ({ protocol, unless }) => protocol === spoken && (unless === undefined || !answeredBy.equals(unless)),
      ) === true;
}

const RTN_LOCAL = 2;
/** As many answers of the kernel fit into any socket's buffer. */
const lookUpsAtOnce = 250;

/**
 * Returns the connections that were sent to an address of the host, as the rules for its ports decide. Other
 * hosts and virtual addresses of services have the same ports.
 */
export function toThisHost(
  route: NetlinkSocket,
  connections: readonly TrackedConnection[],
): readonly TrackedConnection[] {
  const all = [...Map.groupBy(connections, ({ to }) => to.toString('hex')).values()];
  const local: TrackedConnection[] = [];
  for (let from = 0; from < all.length; from += lookUpsAtOnce) {
    const groups = all.slice(from, from + lookUpsAtOnce);
    const answers = route.exchange(
      groups.flatMap(([one]) => (one === undefined ? [] : [lookUpRoute(one.to)])),
    );
    for (const [
      index,
      {
        answers: [found],
      },
    ] of answers.entries())
      if (found?.body.readUInt8(7) === RTN_LOCAL) for (const one of groups[index] ?? []) local.push(one);
  }
  return local;
}
