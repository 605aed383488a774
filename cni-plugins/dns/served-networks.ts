import { bootOf } from '../namespaces/namespace-id.ts';
import { parseIp } from '../../base/addresses/index.ts';
import type { IpAddress, IpPrefix } from '../../base/addresses/index.ts';
import type { NameQueries } from './name-queries.ts';

export interface ServedNetwork {
  /** The host network namespace of its links ({@link bootOf}, cookie). */
  readonly namespaceId: string;
  readonly name: string;
  readonly gateways: readonly IpAddress[];
  readonly subnets: readonly IpPrefix[];
}

/** The networks that have names, with gateways that are read once. */
export interface ServedNetworks {
  /**
   * Returns the networks that have names, for this boot.
   * @param afresh looks up all gateways again; otherwise a known gateway is assumed to be unchanged
   */
  current(afresh: boolean): readonly ServedNetwork[];
  /** Returns one network, whether it has names or not. */
  of(namespaceId: string, name: string): ServedNetwork;
}

/** Reads nothing before the first call. */
export function createServedNetworks(queries: Pick<NameQueries, 'gateways' | 'networks'>): ServedNetworks {
  const gateways = new Map<string, ServedNetwork>();

  const servedOf = (namespaceId: string, name: string): ServedNetwork => {
    const key = `${namespaceId}\0${name}`;
    const known = gateways.get(key);
    if (known !== undefined) return known;
    const found: IpAddress[] = [];
    const subnets: IpPrefix[] = [];
    for (const { gateway, length } of queries.gateways(namespaceId, name)) {
      const address = typeof gateway === 'string' ? parseIp(gateway) : undefined;
      if (address === undefined || typeof length !== 'number') continue;
      if (!found.some((other) => other.family === address.family && other.value === address.value))
        found.push(address);
      subnets.push({ address, length });
    }
    const served: ServedNetwork = { namespaceId, name, gateways: found, subnets };
    gateways.set(key, served);
    return served;
  };

  return {
    current(afresh) {
      // Gateways change only with the configuration of a network, and each reading walks all attachments of
      // the network.
      if (afresh) gateways.clear();
      const current = queries.networks().filter(({ namespaceId }) => namespaceId.startsWith(`${bootOf()}/`));
      const existing = new Set(current.map(({ namespaceId, network }) => `${namespaceId}\0${network}`));
      for (const [key, served] of gateways)
        if (!existing.has(key) || served.gateways.length === 0) gateways.delete(key);
      return current.map(({ namespaceId, network }) => servedOf(namespaceId, network));
    },
    of: servedOf,
  };
}
