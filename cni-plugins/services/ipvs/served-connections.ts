import { formatIp, ipFromBytes } from '../../../base/addresses/index.ts';
import { forget, listConnections } from '../../../base/netlink/index.ts';
import type { IpvsServiceKey, TrackedConnection, NetlinkSocket } from '../../../base/netlink/index.ts';
import { givingMemoryBack } from '../model/memory.ts';
import { keyOf } from '../model/model.ts';
import type { Balancer, ServerCounts, ServerKey, VirtualServer } from '../model/model.ts';
import { insideKeyOf, insideWeightOf, isInsideKey } from '../model/planes.ts';
import { readDenied } from '../source-ranges/denied.ts';
import { ourServices } from './kernel.ts';
import type { IpvsKernel } from './kernel.ts';
import type { KnownServers } from './known-servers.ts';
import type { ServiceLink } from './link.ts';
import { addressBytes, destinationId, familyNumber, protocolNumber, readKey, serviceKey } from './plan.ts';
import { serverKeyBytes, tableFamilies, tableOf } from './tables.ts';

/** The connections to our virtual servers, as IPVS and connection tracking know them. */
export interface ServedConnections extends Pick<Balancer, 'counts' | 'cut'> {
  /**
   * Returns how many connections are established or just ending: those of all our objects in the kernel, and
   * those of the host itself that use one of our addresses.
   */
  standing(): number;
}

export interface ServedConnectionsDeps {
  readonly kernel: IpvsKernel;
  readonly link: Pick<ServiceLink, 'addresses' | 'isOfHost'>;
  readonly netfilter: NetlinkSocket;
  readonly known: Pick<KnownServers, 'get' | 'insides' | 'keys' | 'restricted'>;
}

export function createServedConnections({
  kernel,
  link,
  netfilter,
  known,
}: ServedConnectionsDeps): ServedConnections {
  /** Returns the connections to the server that one destination answers, whichever balancer began them. */
  const trackedTo = (
    server: Pick<VirtualServer, 'family' | 'protocol' | 'address' | 'port'>,
    id: string,
  ): TrackedConnection[] => {
    const answered = listConnections(netfilter, familyNumber(server), {
      protocol: protocolNumber(server.protocol),
      portTo: server.port,
      ...(server.address === undefined ? {} : { to: addressBytes(server.address) }),
    }).filter(
      ({ answeredBy, answeringPort }) => destinationId({ address: answeredBy, port: answeringPort }) === id,
    );
    return server.address === undefined ? toNodePort(server, answered, known, link) : answered;
  };

  /** Returns a lookup of the packets that each restricted server dropped. */
  const deniedNow = (
    of?: ReadonlySet<ServerKey>,
  ): ((key: ServerKey, server: VirtualServer) => bigint | undefined) => {
    const { restricted } = known;
    const asked = restricted.size > 0 && (of === undefined || [...of].some((key) => restricted.has(key)));
    const counted = new Map(
      asked ? tableFamilies.map((family) => [family, readDenied(netfilter, tableOf(family))] as const) : [],
    );
    return (key, server) => {
      const { address } = server;
      if (address === undefined || !restricted.has(key)) return undefined;
      return (
        counted
          .get(server.family === 4 ? 'ip' : 'ip6')
          ?.get(serverKeyBytes({ ...server, address }).toString('hex')) ?? 0n
      );
    };
  };

  /** Returns the keys of the server's IPVS services: its own, and that of its inside plane. */
  const servicesOf = (key: ServerKey): IpvsServiceKey[] => {
    const inside = known.insides.size === 0 ? undefined : known.get(insideKeyOf(key));
    return [serviceKey(readKey(key)), ...(inside === undefined ? [] : [serviceKey(inside)])];
  };

  const countedDestinations = (key: ServerKey, server: VirtualServer): ServerCounts['destinations'] => {
    const listed = Map.groupBy(
      servicesOf(key).flatMap((each) => kernel.destinations(each)),
      destinationId,
    );
    return server.destinations.map((destination) => {
      const { address, port } = destination;
      const id = destinationId({ address: addressBytes(address), port });
      const found = listed.get(id) ?? [];
      // IPVS counts every UDP connection as inactive.
      const carried = found.reduce(
        (sum, { active, inactive }) => sum + active + (server.protocol === 'udp' ? inactive : 0),
        0,
      );
      const takes = Math.max(destination.weight, insideWeightOf(destination)) > 0;
      // A draining destination may have connections from before a switch, which IPVS does not know.
      const active =
        carried > 0 || takes ? carried : trackedTo(server, id).filter(({ ending }) => !ending).length;
      const connections = found.reduce((sum, each) => sum + each.connections, 0n);
      return { address, port, connections, active };
    });
  };

  return {
    cut(key, destination) {
      const server = readKey(key);
      const wanted = { address: addressBytes(destination.address), port: destination.port };
      const id = destinationId(wanted);
      let carried = 0;
      for (const service of servicesOf(key)) {
        const found = kernel.destinations(service).find((each) => destinationId(each) === id);
        if (found === undefined) continue;
        carried += found.active + found.inactive;
        // The destination has the weight 0, so removing it costs no new connection. IPVS ends its connections
        // with it, and the host's own stack refuses their further packets.
        kernel.deleteDestination(service, wanted);
      }
      // Connections that another balancer began are known only to connection tracking.
      const tracked = trackedTo(server, id);
      forget(netfilter, familyNumber(server), tracked);
      return Math.max(tracked.length, carried);
    },

    counts(of) {
      const denied = deniedNow(of);
      const counts: ServerCounts[] = [];
      for (const key of givingMemoryBack(of ?? known.keys())) {
        const server = isInsideKey(key) ? undefined : known.get(key);
        if (server === undefined) continue;
        const dropped = denied(key, server);
        counts.push({
          key,
          ...(dropped !== undefined && { denied: dropped }),
          destinations: countedDestinations(key, server),
        });
      }
      return counts;
    },

    standing() {
      const carried = ourServices(kernel, link)
        .flatMap(({ key }) => kernel.destinations(key))
        .reduce((sum, { active, inactive }) => sum + active + inactive, 0);
      if (carried > 0) return carried;
      const own = new Set(link.addresses().map((address) => address.toString('hex')));
      return ([2, 10] as const)
        .flatMap((family) => listConnections(netfilter, family))
        .filter(
          ({ from, to, ending }) => !ending && own.has(from.toString('hex')) && own.has(to.toString('hex')),
        ).length;
    },
  };
}

/**
 * Returns the connections to a node port, which is served at the host's addresses only. Virtual addresses,
 * which the host also has, and other hosts have services at this port, too.
 */
function toNodePort(
  { family, protocol, port }: Pick<VirtualServer, 'family' | 'protocol' | 'port'>,
  connections: readonly TrackedConnection[],
  known: Pick<KnownServers, 'get'>,
  link: Pick<ServiceLink, 'isOfHost'>,
): TrackedConnection[] {
  const byAddress = Map.groupBy(connections, ({ to }) => formatIp(ipFromBytes(to)));
  return [...byAddress].flatMap(([address, some]) => {
    const isOther = known.get(keyOf({ family, protocol, address, port })) !== undefined;
    return isOther || some[0] === undefined || !link.isOfHost(some[0].to) ? [] : some;
  });
}
