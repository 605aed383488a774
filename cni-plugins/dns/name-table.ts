import { LRUCache } from 'lru-cache';
import type { NetworkDatabase } from '../database/database.ts';
import { formatIp, ipBytes, parseIp } from '../../base/addresses/index.ts';
import type { IpAddress } from '../../base/addresses/index.ts';
import type { SeenNetwork } from './decide.ts';
import { createNameQueries } from './name-queries.ts';
import { createNetworkNames } from './network-names.ts';
import { createServedNetworks } from './served-networks.ts';
import type { ServedNetwork } from './served-networks.ts';

/**
 * The names of all networks, read from the network's database, where the daemon and plugins without it write
 * them. Cached entries are dropped at the next change by any process. Synchronous, for a Worker.
 */
export interface NameTable {
  /** Whether anything changed since the last call. */
  changed(): boolean;
  /**
   * Returns the networks that have names, and their gateways, for this boot.
   * @param afresh looks up all gateways again; otherwise a known gateway is assumed to be unchanged
   */
  served(afresh: boolean): readonly ServedNetwork[];
  /** @param network the one whose gateway was asked */
  seenBy(asker: IpAddress, network: ServedNetwork): Seen;
  /**
   * Whether an attachment has this address. It asks the database once after each change, however many
   * addresses there are.
   */
  isAttached(asker: IpAddress, namespaceId: string): boolean;
  /**
   * Returns what an attachment with this address sees, whichever network it is on. Undefined: there is none.
   * @param namespaceId the host network namespace that the question came to
   */
  seenOnHost(asker: IpAddress, namespaceId: string): Seen | undefined;
  /** Whether {@link seenOnHost} answers without a query of the database. */
  isRemembered(asker: IpAddress, namespaceId: string): boolean;
}

/** The networks that one asker sees: the network that it asks first, then the others that it is on. */
export interface Seen {
  /** Whether an attachment is known for the asker's address. */
  readonly isAttached: boolean;
  readonly networks: readonly SeenNetwork[];
  /**
   * Whether other servers may be asked on its behalf: an asker without a way out of its networks has none for
   * names either.
   */
  readonly mayForward: boolean;
  /** Name servers that its pod got besides this one. Empty: none. */
  readonly upstreams: readonly IpAddress[];
}

const remembered = 8192;

/** Prepares the table, and reads nothing before the first question. */
export function createNameTable(database: Pick<NetworkDatabase, 'db'>): NameTable {
  const queries = createNameQueries(database);
  const served = createServedNetworks(queries);
  const names = createNetworkNames(queries, served);
  const askers = new LRUCache<string, Seen>({ max: remembered });
  const onHost = new LRUCache<string, { readonly seen: Seen | undefined }>({ max: remembered });
  /**
   * The addresses of all attachments, by host network namespace, read at the first question after a change. A
   * sender can choose its address, and must not make us ask the database for each one.
   */
  const attached = new Map<string, ReadonlySet<string>>();
  let version: unknown;

  const isAttached = (address: string, namespaceId: string): boolean => {
    const all = attached.get(namespaceId) ?? queries.attachedAddresses(namespaceId);
    attached.set(namespaceId, all);
    return all.has(address);
  };

  /** The host itself has a way out. For an asker without a known attachment, the network decides. */
  const hasWayOut = (
    asker: IpAddress,
    { namespaceId, name, gateways: own }: ServedNetwork,
    attachments: readonly number[],
  ): boolean =>
    own.some(({ family, value }) => family === asker.family && value === asker.value) ||
    (attachments.length === 0
      ? queries.networkHasWayOut(namespaceId, name)
      : attachments.some((number) => queries.hasWayOut(number)));

  const ownerOf = (attachments: readonly { readonly number: number }[]): string | undefined => {
    for (const { number } of attachments) {
      const owner = queries.owner(number);
      if (owner !== undefined) return owner;
    }
    return undefined;
  };

  const lookAt = (asker: IpAddress, network: ServedNetwork): Seen => {
    const { namespaceId, name } = network;
    const rows = queries.attachments(namespaceId, name, ipBytes(asker));
    const attached = new Set([name, ...rows.map(({ network }) => network)]);
    return {
      isAttached: rows.length > 0,
      mayForward: hasWayOut(
        asker,
        network,
        rows.map(({ number }) => number),
      ),
      networks: [...attached].map((each) => names.seenBy(namespaceId, each, ownerOf(rows))),
      upstreams: rows
        .flatMap(({ number }) => queries.upstreams(number))
        .flatMap((address) => parseIp(address) ?? []),
    };
  };

  return {
    changed() {
      const now = queries.version();
      if (now === version) return false;
      version = now;
      names.forget();
      askers.clear();
      onHost.clear();
      attached.clear();
      return true;
    },
    served: served.current,
    seenBy(asker, network) {
      const key = `${network.namespaceId}\0${network.name}\0${asker.value}`;
      const known = askers.get(key);
      if (known !== undefined) return known;
      const seen = lookAt(asker, network);
      askers.set(key, seen);
      return seen;
    },
    isAttached: (asker, namespaceId) => isAttached(formatIp(asker), namespaceId),
    seenOnHost(asker, namespaceId) {
      const address = formatIp(asker);
      if (!isAttached(address, namespaceId)) return undefined;
      const key = `${namespaceId}\0${address}`;
      const known = onHost.get(key);
      if (known !== undefined) return known.seen;
      const all = queries
        .networksWith(namespaceId, ipBytes(asker))
        .map((network) => lookAt(asker, served.of(namespaceId, network)));
      const [first] = all;
      const seen = first && {
        isAttached: true,
        networks: all.flatMap(({ networks }) => networks),
        mayForward: all.some(({ mayForward }) => mayForward),
        upstreams: first.upstreams,
      };
      onHost.set(key, { seen });
      return seen;
    },
    isRemembered(asker, namespaceId) {
      const address = formatIp(asker);
      return !isAttached(address, namespaceId) || onHost.has(`${namespaceId}\0${address}`);
    },
  };
}
