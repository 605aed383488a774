import { formatIp, ipFromBytes, parseIp } from '../../base/addresses/index.ts';
import type { IpAddress } from '../../base/addresses/index.ts';
import type { NetworkDatabase } from '../database/database.ts';
import type { Endpoint } from './decide.ts';

/** Queries of the database for names, attachments and their addresses. Reads only. */
export interface NameQueries {
  /** Returns a value that differs after any commit of another connection. */
  version(): unknown;
  /** Returns the networks that have names, of all host network namespaces. */
  networks(): readonly { readonly namespaceId: string; readonly network: string }[];
  /** Returns the gateways of all attachments of a network, each with the length of its subnet. Unchecked. */
  gateways(
    namespaceId: string,
    network: string,
  ): readonly { readonly gateway: unknown; readonly length: unknown }[];
  /** Returns the addresses of a name. Addresses are 16 bytes long (see {@link addressOf}). */
  addresses(namespaceId: string, network: string, name: string): readonly NamedAddress[];
  /** Returns the Kubernetes namespace to which names of the attachment belong; undefined: none. */
  owner(attachment: number): string | undefined;
  /**
   * Returns the name by which users know an address: its own name, then its aliases, its id, and the service,
   * which others may share. The shortest comes first, which for a pod is the name without its namespace.
   */
  nameOf(namespaceId: string, network: string, address: Uint8Array): string | undefined;
  /** Returns the attachments of the container that has the address on the network, on all its networks. */
  attachments(
    namespaceId: string,
    network: string,
    address: Uint8Array,
  ): readonly { readonly network: string; readonly number: number }[];
  /** Returns the addresses of all attachments of a host network namespace, in their canonical form. */
  attachedAddresses(namespaceId: string): ReadonlySet<string>;
  /** Returns the networks of attachments that have the address. */
  networksWith(namespaceId: string, address: Uint8Array): readonly string[];
  /** Returns whether an attachment of the network has a default route. */
  networkHasWayOut(namespaceId: string, network: string): boolean;
  /** Returns whether the attachment has a default route. */
  hasWayOut(attachment: number): boolean;
  /** Returns the name servers that the attachment's pod got besides ours. */
  upstreams(attachment: number): readonly string[];
}

export interface NamedAddress {
  readonly address: Uint8Array;
  readonly kind: Endpoint['kind'];
  readonly owner: string;
  readonly since: number;
  /** 1: a member of the service that has this name; 0: any other endpoint, also by an alias of a service. */
  readonly isMember: 0 | 1;
}

/** The form of addresses in the database: 16 bytes, IPv4 as ::ffff:a.b.c.d (RFC 4291, section 2.5.5.2). */
const mapped = Buffer.from('00000000000000000000ffff', 'hex');
const keyOf = (address: Uint8Array): Uint8Array =>
  address.length === 4 ? Buffer.concat([mapped, address]) : address;
/** Returns the 4 or 16 bytes of an address in that form. */
export const addressOf = (key: Uint8Array): Uint8Array =>
  mapped.equals(key.subarray(0, 12)) ? key.subarray(12) : key;

/** Reads a key, or an address with a prefix length as the results of plugins have it. */
function addressIn(stored: unknown): IpAddress | undefined {
  if (typeof stored === 'string') return parseIp(stored.replace(/\/.*/su, ''));
  return stored instanceof Uint8Array ? ipFromBytes(addressOf(stored)) : undefined;
}

/** Prepares the queries once. */
export function createNameQueries({ db }: Pick<NetworkDatabase, 'db'>): NameQueries {
  const selectVersion = db.prepare('PRAGMA data_version');
  const selectNetworks = db.prepare('SELECT DISTINCT realm AS namespaceId, network FROM name');
  const selectGateways = db.prepare(
    `SELECT DISTINCT json_extract(ip.value, '$.gateway') AS gateway, json_extract(ip.value, '$.prefixLength') AS length
     FROM attachment JOIN json_each(spec, '$.addresses') AS ip WHERE realm = ?1 AND network = ?2 AND origin = 'pod'
     UNION
     SELECT json_extract(ip.value, '$.gateway'), CAST(substr(json_extract(ip.value, '$.address'), instr(json_extract(ip.value, '$.address'), '/') + 1) AS INTEGER)
     FROM attachment JOIN part ON part.attachment = number JOIN json_each(result, '$.ips') AS ip
     WHERE realm = ?1 AND network = ?2 AND origin = 'plugin'`,
  );
  const selectEndpoints = db.prepare(
    `SELECT address, kind, owner, min(since) AS since,
       max(kind = 'service' AND EXISTS (SELECT 1 FROM service_member AS member
         WHERE member.attachment = name.attachment AND ?3 IN (member.service, 'tasks.' || member.service))) AS isMember
     FROM name WHERE realm = ?1 AND network = ?2 AND name = ?3 GROUP BY address, kind, owner`,
  );
  const selectOwner = db.prepare("SELECT owner FROM name WHERE attachment = ? AND owner <> '' LIMIT 1");
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
  // The address of a third-party plugin's attachment is only in its result.
  // Names of network services have no attachment, and there may be many: CROSS JOIN keeps the order.
  const selectAttached = db.prepare(
    `SELECT lease.address AS address FROM attachment CROSS JOIN lease ON lease.attachment = number
     WHERE attachment.realm = ?1
     UNION SELECT name.address FROM attachment CROSS JOIN name ON name.attachment = number
     WHERE attachment.realm = ?1
     UNION ALL SELECT json_extract(ip.value, '$.address')
     FROM attachment AS own CROSS JOIN part ON part.attachment = own.number JOIN json_each(result, '$.ips') AS ip
     WHERE own.realm = ?1 AND own.origin = 'plugin'`,
  );
  const selectNetworksWith = db.prepare(
    `SELECT DISTINCT network FROM attachment WHERE realm = ?1 AND number IN
       (SELECT attachment FROM lease WHERE realm = ?1 AND address = ?2
        UNION SELECT attachment FROM name WHERE realm = ?1 AND address = ?2
        UNION SELECT part.attachment FROM part JOIN attachment AS own ON own.number = part.attachment
              JOIN json_each(result, '$.ips') AS ip
              WHERE own.realm = ?1 AND own.origin = 'plugin'
                AND json_extract(ip.value, '$.address') LIKE ?3 || '/%')`,
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

  return {
    version: () => (selectVersion.get() as { data_version: unknown }).data_version,
    networks: () => selectNetworks.all() as unknown as { namespaceId: string; network: string }[],
    gateways: (namespaceId, network) =>
      selectGateways.all(namespaceId, network) as { gateway: unknown; length: unknown }[],
    addresses: (namespaceId, network, name) =>
      selectEndpoints.all(namespaceId, network, name) as unknown as NamedAddress[],
    owner: (attachment) => (selectOwner.get(attachment) as { owner: string } | undefined)?.owner,
    nameOf: (namespaceId, network, address) =>
      (selectName.get(namespaceId, keyOf(address), network) as { name: string } | undefined)?.name,
    attachments: (namespaceId, network, address) =>
      selectOthers.all(namespaceId, network, keyOf(address)) as unknown as {
        network: string;
        number: number;
      }[],
    attachedAddresses: (namespaceId) =>
      new Set(
        (selectAttached.all(namespaceId) as unknown as { address: unknown }[]).flatMap(({ address }) => {
          const parsed = addressIn(address);
          return parsed === undefined ? [] : formatIp(parsed);
        }),
      ),
    networksWith: (namespaceId, address) =>
      (
        selectNetworksWith.all(namespaceId, keyOf(address), formatIp(ipFromBytes(address))) as unknown as {
          network: string;
        }[]
      ).map(({ network }) => network),
    networkHasWayOut: (namespaceId, network) => selectWaysOut.get(namespaceId, network) !== undefined,
    hasWayOut: (attachment) => selectWayOut.get(attachment) !== undefined,
    upstreams: (attachment) =>
      (selectUpstreams.all(attachment) as unknown as { address: string }[]).map(({ address }) => address),
  };
}
