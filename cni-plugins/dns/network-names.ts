import { LRUCache } from 'lru-cache';
import { contains, ipFromBytes } from '../../base/addresses/index.ts';
import type { Endpoint, SeenNetwork } from './decide.ts';
import { addressOf } from './name-queries.ts';
import type { NameQueries, NamedAddress } from './name-queries.ts';
import type { ServedNetworks } from './served-networks.ts';

/** The names of a network as one asker sees them. What was read is remembered until it is forgotten. */
export interface NetworkNames {
  /** @param asker the Kubernetes namespace of the asker; undefined: none */
  seenBy(namespaceId: string, network: string, asker: string | undefined): SeenNetwork;
  forget(): void;
}

const remembered = 8192;

/** Reads nothing before the first question. */
export function createNetworkNames(
  queries: Pick<NameQueries, 'addresses' | 'nameOf'>,
  served: Pick<ServedNetworks, 'of'>,
): NetworkNames {
  const endpointsSeen = new LRUCache<string, readonly Endpoint[]>({ max: remembered });
  /** Names by address. Empty: the address has no name. */
  const reverse = new LRUCache<string, string>({ max: remembered });

  const seenNetwork = (namespaceId: string, name: string, asker: string | undefined): SeenNetwork => ({
    name,
    holds: (address) =>
      served.of(namespaceId, name).subnets.some((subnet) => contains(subnet, ipFromBytes(address))),
    endpoints(host, asked) {
      // The name may be a domain from elsewhere. Only our name `tasks.SERVICE` has a dot, and a tenant
      // chooses its label (`tasks.com`). As a whole name, it is answered only to askers of the service's own
      // owner.
      const isOfElsewhere = asked === 'whole' && host.includes('.');
      const key = `${namespaceId}\0${name}\0${host}\0${asker ?? ''}\0${asked ?? ''}`;
      const known = endpointsSeen.get(key);
      if (known !== undefined) return known;
      const found = queries.addresses(namespaceId, name, host);
      const isOwn = ({ kind, owner }: NamedAddress): boolean =>
        kind === 'service' && (owner === '' || owner === asker);
      const rows = withFellows(ofOneOwner(isOfElsewhere ? found.filter(isOwn) : found, asker), found);
      // A tenant also chooses a bare name. For all other askers, the answer of the host's own name servers
      // stays the same.
      const isOfOthers = (owner: string): boolean => asked === 'whole' && owner !== '' && owner !== asker;
      const endpoints = rows.map(({ address, kind, owner }): Endpoint => ({
        address: addressOf(address),
        kind,
        ...(isOfOthers(owner) && { ofOthers: true }),
      }));
      endpointsSeen.set(key, endpoints);
      return endpoints;
    },
    nameOf(address) {
      const key = `${namespaceId}\0${name}\0${Buffer.from(address).toString('latin1')}`;
      const known = reverse.get(key);
      if (known !== undefined) return known === '' ? undefined : known;
      const found = queries.nameOf(namespaceId, name, address);
      reverse.set(key, found ?? '');
      return found;
    },
  });

  return {
    seenBy: seenNetwork,
    forget() {
      endpointsSeen.clear();
      reverse.clear();
    },
  };
}

/**
 * Adds the other members of a service. Members of several Kubernetes namespaces are admitted only if the
 * network's file shares the service between them.
 */
function withFellows(rows: readonly NamedAddress[], all: readonly NamedAddress[]): readonly NamedAddress[] {
  if (!rows.some(({ isMember }) => isMember === 1)) return rows;
  const chosen = new Set(rows);
  return all.filter((row) => row.isMember === 1 || chosen.has(row));
}

/**
 * Selects the owner of a name that several Kubernetes namespaces use. An asker gets the name of its own
 * namespace; any other asker gets the name of the namespace that had it first. No namespace takes a name, or
 * a part of its traffic, from another one by using the same name.
 */
function ofOneOwner(rows: readonly NamedAddress[], asker: string | undefined): readonly NamedAddress[] {
  const [first] = rows.toSorted(
    (a, b) => a.since - b.since || (a.owner < b.owner ? -1 : Number(a.owner > b.owner)),
  );
  if (first === undefined) return rows;
  const owner = rows.some((row) => row.owner === asker) ? asker : first.owner;
  return rows.filter((row) => row.owner === owner);
}
