import type { HostNamespace } from './host-namespace.ts';
import { findPlaces, ownPlace, standingNamespaces } from './realms.ts';
import type { OpenPlace } from './realms.ts';
import type { ServedNetwork } from './served-networks.ts';
import { createStation } from './station.ts';
import type { Station, StationOptions } from './station.ts';

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

/** A host network namespace, and what is open in it. */
interface Standing {
  readonly station: Station;
  /** Absent: our own namespace, which does not end before us. */
  readonly opened?: OpenPlace;
}

/** Opens nothing before the first networks. */
export function createGates(options: StationOptions): Gates {
  const stations = new Map<string, Standing>();
  const own = ownPlace();

  const establish = (place: HostNamespace, opened?: OpenPlace): void =>
    void stations.set(place.realm, { station: createStation(place, options), ...(opened !== undefined && { opened }) });

  const abandon = (realm: string, { station, opened }: Standing): void => {
    stations.delete(realm);
    station.close();
    opened?.close();
  };

  return {
    follow(networks) {
      const byRealm = Map.groupBy(networks, ({ realm }) => realm);
      for (const [realm, standing] of [...stations]) if (!byRealm.has(realm)) abandon(realm, standing);
      if (byRealm.has(own.realm) && !stations.has(own.realm)) establish(own);
      const unknown = new Set([...byRealm.keys()].filter((realm) => !stations.has(realm)));
      if (unknown.size > 0) for (const place of findPlaces(unknown)) establish(place, place);
      for (const [realm, those] of byRealm) stations.get(realm)?.station.follow(those);
    },
    rest() {
      const foreign = [...stations].filter(([, { opened }]) => opened !== undefined);
      const standing = foreign.length === 0 ? new Set<string>() : standingNamespaces();
      for (const [realm, each] of foreign) {
        if (each.opened === undefined || standing.has(each.opened.namespace)) continue;
        abandon(realm, each);
      }
      for (const { station } of stations.values()) station.rest();
    },
    counts() {
      const all = [...stations.values()].flatMap(({ station }) => station.gates());
      const open = all.filter(({ gate }) => gate !== undefined).length;
      const wanting = all.filter(({ gate, problem }) => gate === undefined && problem !== 'KERNEL_EADDRNOTAVAIL').length;
      return { gates: open, closedGates: wanting };
    },
    close() {
      for (const [realm, standing] of [...stations]) abandon(realm, standing);
    },
  };
}
