import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { formatIp } from '../spec/address.ts';
import type { IpAddress } from '../spec/address.ts';
import { createQueryHandler } from './query-handler.ts';
import type { QueryHandlerOptions } from './query-handler.ts';
import { createForwarder } from './forwarder.ts';
import type { ForwardLimits, Forwarder } from './forwarder.ts';
import { openDnsListener } from './listener.ts';
import type { DnsListener } from './listener.ts';
import type { NameTable } from './name-table.ts';
import type { ServedNetwork } from './served-networks.ts';
import type { HostNamespace } from './host-namespace.ts';
import { findPlaces, ownPlace, standingNamespaces } from './realms.ts';
import type { OpenPlace } from './realms.ts';
import type { NameCounts } from './figures.ts';

/**
 * Opens and closes listeners as networks come and go, each inside the host network namespace of its network.
 */
export interface Gates {
  /**
   * Opens and closes listeners to match the served networks. The next call retries a listener that cannot be
   * opened.
   */
  follow(networks: readonly ServedNetwork[]): void;
  /** Releases namespaces that have ended, and closes idle sockets. */
  rest(): void;
  counts(): { readonly gates: number; readonly closedGates: number };
  close(): void;
}

export interface GatesOptions extends Pick<QueryHandlerOptions, 'settings' | 'upstreams'> {
  readonly table: Pick<NameTable, 'seenBy' | 'changed'>;
  readonly port: number;
  readonly limits: ForwardLimits;
  readonly figures: Pick<NameCounts, 'query' | 'forward'>;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/** A host network namespace, and what is open in it. */
interface Station {
  readonly place: HostNamespace;
  readonly forwarder: Forwarder;
  readonly gates: Map<string, StandingGate>;
  /** Absent: our own namespace, which does not end before us. */
  readonly opened?: OpenPlace;
}

interface StandingGate {
  networks: readonly ServedNetwork[];
  gate?: DnsListener;
  /** The last problem that was logged. */
  problem?: string;
}

export function createGates(options: GatesOptions): Gates {
  const { table, settings, upstreams, port, limits, figures, log } = options;
  const stations = new Map<string, Station>();
  const own = ownPlace();

  const establish = (place: HostNamespace, opened?: OpenPlace): Station => {
    const forwarder = createForwarder(place, limits, figures.forward);
    const station: Station = { place, forwarder, gates: new Map(), ...(opened !== undefined && { opened }) };
    stations.set(place.realm, station);
    return station;
  };

  const abandon = (station: Station): void => {
    stations.delete(station.place.realm);
    for (const { gate } of station.gates.values()) gate?.close();
    station.forwarder.close();
    station.opened?.close();
  };

  const desks = new Map<Station, ReturnType<typeof createQueryHandler>>();
  const deskOf = (station: Station): ReturnType<typeof createQueryHandler> => {
    const known = desks.get(station);
    if (known !== undefined) return known;
    const isOwn = (address: IpAddress): boolean => limits.port === undefined && station.gates.has(formatIp(address));
    const desk = createQueryHandler({ table, settings, upstreams, forwarder: station.forwarder, isOwn, tell: figures.query });
    desks.set(station, desk);
    return desk;
  };

  const open = (station: Station, text: string, address: IpAddress, standing: StandingGate): void => {
    const desk = deskOf(station);
    const fields = { address: text, networks: standing.networks.map(({ name }) => name) };
    try {
      standing.gate = openDnsListener({
        place: station.place,
        address,
        port,
        // Changes that were committed before a question arrived are in its answer.
        onArrivals: () => void table.changed(),
        onArrival: (arrival) => desk(arrival, standing.networks),
        onFailure(why) {
          delete standing.gate;
          log.warn({ ...fields, why }, 'names are no longer answered at the gateway of a network; it is tried again');
        },
      });
      if (standing.problem !== undefined) log.info(fields, 'names are answered at the gateway of a network now');
      delete standing.problem;
    } catch (thrown) {
      const problem = isPortcullisError(thrown) ? thrown.code : 'INTERNAL';
      // A gateway that is not an address of this host belongs to another host, or is still being added to
      // this one.
      const why =
        problem === 'KERNEL_EADDRINUSE' ? 'another name server listens on port 53 of this address, or of all addresses' : reasonOf(thrown);
      if (standing.problem !== problem && problem !== 'KERNEL_EADDRNOTAVAIL')
        log.warn({ ...fields, why }, 'names cannot be answered at the gateway of a network; it is tried again');
      standing.problem = problem;
    }
  };

  const followIn = (station: Station, networks: readonly ServedNetwork[]): void => {
    const wanted = new Map<string, { address: IpAddress; networks: ServedNetwork[] }>();
    for (const network of networks) {
      for (const address of network.gateways) {
        const text = formatIp(address);
        const entry = wanted.get(text) ?? { address, networks: [] };
        entry.networks.push(network);
        wanted.set(text, entry);
      }
    }
    for (const [text, { gate }] of station.gates) {
      if (wanted.has(text)) continue;
      gate?.close();
      station.gates.delete(text);
    }
    for (const [text, { address, networks: those }] of wanted) {
      const standing = station.gates.get(text) ?? { networks: those };
      standing.networks = those;
      station.gates.set(text, standing);
      if (standing.gate === undefined) open(station, text, address, standing);
    }
  };

  return {
    follow(networks) {
      const byRealm = Map.groupBy(networks, ({ realm }) => realm);
      for (const station of [...stations.values()]) {
        if (byRealm.has(station.place.realm)) continue;
        desks.delete(station);
        abandon(station);
      }
      if (byRealm.has(own.realm) && !stations.has(own.realm)) establish(own);
      const unknown = new Set([...byRealm.keys()].filter((realm) => !stations.has(realm)));
      if (unknown.size > 0) for (const place of findPlaces(unknown)) establish(place, place);
      for (const [realm, those] of byRealm) {
        const station = stations.get(realm);
        if (station !== undefined) followIn(station, those);
      }
    },
    rest() {
      const foreign = [...stations.values()].filter(({ opened }) => opened !== undefined);
      const standing = foreign.length === 0 ? new Set<string>() : standingNamespaces();
      for (const station of foreign) {
        if (station.opened === undefined || standing.has(station.opened.namespace)) continue;
        desks.delete(station);
        abandon(station);
      }
      for (const { forwarder } of stations.values()) forwarder.rest();
    },
    counts() {
      const all = [...stations.values()].flatMap(({ gates }) => [...gates.values()]);
      const open = all.filter(({ gate }) => gate !== undefined).length;
      const wanting = all.filter(({ gate, problem }) => gate === undefined && problem !== 'KERNEL_EADDRNOTAVAIL').length;
      return { gates: open, closedGates: wanting };
    },
    close() {
      for (const station of [...stations.values()]) abandon(station);
    },
  };
}
