import type { IpAddress } from '../../base/addresses/index.ts';
import type { HostNamespace } from './host-namespace.ts';
import { findNamespaces, ownNamespace, existingNamespaces } from './open-namespaces.ts';
import type { OpenNamespace } from './open-namespaces.ts';
import type { ServedNetwork } from './served-networks.ts';
import { createNamespaceListeners } from './namespace-listeners.ts';
import type { NamespaceListeners, NamespaceListenersOptions } from './namespace-listeners.ts';

/**
 * Opens and closes listeners as networks come and go, each inside the host network namespace of its network.
 */
export interface Listeners {
  /**
   * Opens and closes listeners to match the served networks. The next call retries a listener that cannot be
   * opened.
   */
  follow(networks: readonly ServedNetwork[]): void;
  /** Releases namespaces that have ended, and closes idle sockets. */
  rest(): void;
  counts(): { readonly listeners: number; readonly closedListeners: number };
  /** Whether an address is a gateway in the network namespace of this thread. */
  isGateway(address: IpAddress): boolean;
  close(): void;
}

/** A host network namespace, and what is open in it. */
interface Standing {
  readonly station: NamespaceListeners;
  /** Absent: our own namespace, which does not end before us. */
  readonly opened?: OpenNamespace;
}

/** Opens nothing before the first networks. */
export function createListeners(options: NamespaceListenersOptions): Listeners {
  const stations = new Map<string, Standing>();
  const own = ownNamespace();

  const establish = (place: HostNamespace, opened?: OpenNamespace): void =>
    void stations.set(place.namespaceId, {
      station: createNamespaceListeners(place, options),
      ...(opened !== undefined && { opened }),
    });

  const abandon = (namespaceId: string, { station, opened }: Standing): void => {
    stations.delete(namespaceId);
    station.close();
    opened?.close();
  };

  return {
    follow(networks) {
      const byNamespaceId = Map.groupBy(networks, ({ namespaceId }) => namespaceId);
      for (const [namespaceId, existing] of [...stations])
        if (!byNamespaceId.has(namespaceId)) abandon(namespaceId, existing);
      if (byNamespaceId.has(own.namespaceId) && !stations.has(own.namespaceId)) establish(own);
      const unknown = new Set([...byNamespaceId.keys()].filter((namespaceId) => !stations.has(namespaceId)));
      if (unknown.size > 0) for (const place of findNamespaces(unknown)) establish(place, place);
      for (const [namespaceId, those] of byNamespaceId) stations.get(namespaceId)?.station.follow(those);
    },
    rest() {
      const foreign = [...stations].filter(([, { opened }]) => opened !== undefined);
      const existing = foreign.length === 0 ? new Set<string>() : existingNamespaces();
      for (const [namespaceId, each] of foreign) {
        if (each.opened === undefined || existing.has(each.opened.namespace)) continue;
        abandon(namespaceId, each);
      }
      for (const { station } of stations.values()) station.rest();
    },
    counts() {
      const all = [...stations.values()].flatMap(({ station }) => station.gateways());
      const open = all.filter(({ listener }) => listener !== undefined).length;
      const wanting = all.filter(
        ({ listener, problem }) => listener === undefined && problem !== 'KERNEL_EADDRNOTAVAIL',
      ).length;
      return { listeners: open, closedListeners: wanting };
    },
    isGateway: (address) => stations.get(own.namespaceId)?.station.isGateway(address) === true,
    close() {
      for (const [namespaceId, existing] of [...stations]) abandon(namespaceId, existing);
    },
  };
}
