import { LRUCache } from 'lru-cache';
import type { NetworkDatabase } from '../attach/database.ts';
import { bootOf } from '../attach/realm.ts';
import { contains, ipBytes, ipFromBytes, parseIp } from '../spec/address.ts';
import type { IpAddress, IpPrefix } from '../spec/address.ts';
import type { Endpoint, SeenNetwork } from './decide.ts';

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
}

export interface ServedNetwork {
  /** The host network namespace of its links ({@link bootOf}, cookie). */
  readonly realm: string;
  readonly name: string;
  readonly gateways: readonly IpAddress[];
  readonly subnets: readonly IpPrefix[];
}

/** What one asker sees: the network that it asks first, then the others that it is on. */
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

/** The form of addresses in the database: 16 bytes, IPv4 as ::ffff:a.b.c.d (RFC 4291, section 2.5.5.2). */
const mapped = Buffer.from('00000000000000000000ffff', 'hex');
const keyOf = (address: Uint8Array): Uint8Array => (address.length === 4 ? Buffer.concat([mapped, address]) : address);
const addressOf = (key: Uint8Array): Uint8Array => (mapped.equals(key.subarray(0, 12)) ? key.subarray(12) : key);

export function createNameTable({ db }: Pick<NetworkDatabase, 'db'>): NameTable {
  const selectVersion = db.prepare('PRAGMA data_version');
  const selectNetworks = db.prepare('SELECT DISTINCT realm, network FROM name');
  const selectGateways = db.prepare(
    `SELECT DISTINCT json_extract(ip.value, '$.gateway') AS gateway, json_extract(ip.value, '$.prefixLength') AS length
     FROM attachment JOIN json_each(spec, '$.addresses') AS ip WHERE realm = ?1 AND network = ?2 AND origin = 'pod'
     UNION
     SELECT json_extract(ip.value, '$.gateway'), CAST(substr(json_extract(ip.value, '$.address'), instr(json_extract(ip.value, '$.address'), '/') + 1) AS INTEGER)
     FROM attachment JOIN part ON part.attachment = number JOIN json_each(result, '$.ips') AS ip
     WHERE realm = ?1 AND network = ?2 AND origin = 'plugin'`,
  );
  const selectEndpoints = db.prepare(
    'SELECT address, kind, owner, min(since) AS since FROM name WHERE realm = ? AND network = ? AND name = ? GROUP BY address, kind, owner',
  );
  const selectOwner = db.prepare("SELECT owner FROM name WHERE attachment = ? AND owner <> '' LIMIT 1");
  // The name by which users know it: its own name, then its aliases, its id, and the service, which others
  // may share. The shortest comes first, which for a pod is the name without its namespace.
  const selectName = db.prepare(
    `SELECT name FROM name LEFT JOIN attachment ON number = name.attachment
     WHERE name.realm = ?1 AND address = ?2 AND name.network = ?3
     ORDER BY CASE WHEN kind = 'service' THEN 3
                   WHEN name IN (lower(container_id), substr(lower(container_id), 1, 12)) THEN 2
                   WHEN kind = 'container' THEN 0 ELSE 1 END, length(name), name LIMIT 1`,
  );
  const selectOthers = db.prepare(
    `SELECT DISTINCT other.network AS network, other.number AS number
     FROM attachment AS own JOIN attachment AS other ON other.container_id = own.container_id AND other.realm = own.realm
     WHERE own.realm = ?1 AND own.network = ?2 AND own.number IN
       (SELECT attachment FROM lease WHERE realm = ?1 AND scope IN ('', ?2) AND address = ?3
        UNION SELECT attachment FROM name WHERE realm = ?1 AND network = ?2 AND address = ?3)
     ORDER BY other.number`,
  );

  const byDefault = "json_extract(route.value, '$.dst') IN ('0.0.0.0/0', '::/0')";
  const selectWaysOut = db.prepare(
    `SELECT number FROM attachment JOIN json_each(spec, '$.routes') AS route WHERE realm = ?1 AND network = ?2 AND ${byDefault}
     UNION
     SELECT number FROM attachment JOIN part ON part.attachment = number JOIN json_each(result, '$.routes') AS route
     WHERE realm = ?1 AND network = ?2 AND ${byDefault}`,
  );
  const selectWayOut = db.prepare(
    `SELECT 1 FROM attachment JOIN json_each(spec, '$.routes') AS route WHERE number = ?1 AND ${byDefault}
     UNION ALL
     SELECT 1 FROM part JOIN json_each(result, '$.routes') AS route WHERE attachment = ?1 AND ${byDefault} LIMIT 1`,
  );
  const selectUpstreams = db.prepare('SELECT address FROM upstream WHERE attachment = ? ORDER BY position');

  const endpointsSeen = new LRUCache<string, readonly Endpoint[]>({ max: remembered });
  /** Names by address. Empty: the address has no name. */
  const reverse = new LRUCache<string, string>({ max: remembered });
  const askers = new LRUCache<string, Seen>({ max: remembered });
  const gateways = new Map<string, ServedNetwork>();
  let version: unknown;

  const servedOf = (realm: string, name: string): ServedNetwork => {
    const key = `${realm}\0${name}`;
    const known = gateways.get(key);
    if (known !== undefined) return known;
    const found: IpAddress[] = [];
    const subnets: IpPrefix[] = [];
    for (const { gateway, length } of selectGateways.all(realm, name) as { gateway: unknown; length: unknown }[]) {
      const address = typeof gateway === 'string' ? parseIp(gateway) : undefined;
      if (address === undefined || typeof length !== 'number') continue;
      if (!found.some((other) => other.family === address.family && other.value === address.value)) found.push(address);
      subnets.push({ address, length });
    }
    const served: ServedNetwork = { realm, name, gateways: found, subnets };
    gateways.set(key, served);
    return served;
  };

  const seenNetwork = (realm: string, name: string, asker: string | undefined): SeenNetwork => ({
    name,
    holds: (address) => servedOf(realm, name).subnets.some((subnet) => contains(subnet, ipFromBytes(address))),
    endpoints(host, asked) {
      // The name may be a domain from elsewhere. Of our names only `tasks.SERVICE` has a dot, and a tenant
      // chooses its label (`tasks.com`). As a whole name, it is answered only to askers of the service's own
      // owner.
      const isOfElsewhere = asked === 'whole' && host.includes('.');
      const key = `${realm}\0${name}\0${host}\0${asker ?? ''}\0${asked ?? ''}`;
      const known = endpointsSeen.get(key);
      if (known !== undefined) return known;
      const found = selectEndpoints.all(realm, name, host) as unknown as NamedAddress[];
      const isOwn = ({ kind, owner }: NamedAddress): boolean => kind === 'service' && (owner === '' || owner === asker);
      const rows = ofOneOwner(isOfElsewhere ? found.filter(isOwn) : found, asker);
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
      const key = `${realm}\0${name}\0${Buffer.from(address).toString('latin1')}`;
      const known = reverse.get(key);
      if (known !== undefined) return known === '' ? undefined : known;
      const found = (selectName.get(realm, keyOf(address), name) as { name: string } | undefined)?.name;
      reverse.set(key, found ?? '');
      return found;
    },
  });

  /** The host itself has a way out. For an asker without a known attachment, the network decides. */
  const hasWayOut = (asker: IpAddress, { realm, name, gateways: own }: ServedNetwork, attachments: readonly number[]): boolean =>
    own.some(({ family, value }) => family === asker.family && value === asker.value) ||
    (attachments.length === 0
      ? selectWaysOut.get(realm, name) !== undefined
      : attachments.some((number) => selectWayOut.get(number) !== undefined));

  const ownerOf = (attachments: readonly { readonly number: number }[]): string | undefined => {
    for (const { number } of attachments) {
      const row = selectOwner.get(number) as { owner: string } | undefined;
      if (row !== undefined) return row.owner;
    }
    return undefined;
  };

  const lookAt = (asker: IpAddress, network: ServedNetwork): Seen => {
    const { realm, name } = network;
    const rows = selectOthers.all(realm, name, keyOf(ipBytes(asker))) as unknown as { network: string; number: number }[];
    const names = new Set([name, ...rows.map(({ network }) => network)]);
    return {
      isAttached: rows.length > 0,
      mayForward: hasWayOut(
        asker,
        network,
        rows.map(({ number }) => number),
      ),
      networks: [...names].map((each) => seenNetwork(realm, each, ownerOf(rows))),
      upstreams: rows
        .flatMap(({ number }) => selectUpstreams.all(number) as unknown as { address: string }[])
        .flatMap(({ address }) => parseIp(address) ?? []),
    };
  };

  return {
    changed() {
      const { data_version: now } = selectVersion.get() as { data_version: unknown };
      if (now === version) return false;
      version = now;
      endpointsSeen.clear();
      reverse.clear();
      askers.clear();
      return true;
    },
    served(afresh) {
      // Gateways change only with the configuration of a network, and each reading walks all attachments of
      // the network.
      if (afresh) gateways.clear();
      const rows = selectNetworks.all() as unknown as { realm: string; network: string }[];
      const current = rows.filter(({ realm }) => realm.startsWith(`${bootOf()}/`));
      const standing = new Set(current.map(({ realm, network }) => `${realm}\0${network}`));
      for (const [key, served] of gateways) if (!standing.has(key) || served.gateways.length === 0) gateways.delete(key);
      return current.map(({ realm, network }) => servedOf(realm, network));
    },
    seenBy(asker, network) {
      const key = `${network.realm}\0${network.name}\0${asker.value}`;
      const known = askers.get(key);
      if (known !== undefined) return known;
      const seen = lookAt(asker, network);
      askers.set(key, seen);
      return seen;
    },
  };
}

interface NamedAddress {
  readonly address: Uint8Array;
  readonly kind: Endpoint['kind'];
  readonly owner: string;
  readonly since: number;
}

/**
 * Selects the owner of a name that several Kubernetes namespaces use. An asker gets the name of its own
 * namespace; any other asker gets the name of the namespace that had it first. No namespace takes a name, or
 * a part of its traffic, from another one by using the same name.
 */
function ofOneOwner(rows: readonly NamedAddress[], asker: string | undefined): readonly NamedAddress[] {
  const [first] = rows.toSorted((a, b) => a.since - b.since || (a.owner < b.owner ? -1 : Number(a.owner > b.owner)));
  if (first === undefined) return rows;
  const owner = rows.some((row) => row.owner === asker) ? asker : first.owner;
  return rows.filter((row) => row.owner === owner);
}
