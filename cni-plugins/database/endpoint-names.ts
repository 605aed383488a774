import { formatIp, ipBytes, ipFromBytes, parseIp } from '../../base/addresses/index.ts';
import type { IpAddress } from '../../base/addresses/index.ts';
import type { NetworkDatabase } from './database.ts';

/**
 * Names of the endpoints of a network, in libnetwork's model: its DNS answers them. They are written with the
 * attachment that they belong to and removed with it, by the daemon and by plugins without it. The name
 * server reads them here. A name may have several addresses, and several holders may have the same name.
 */
export interface NameStore {
  /** Replaces the names of the holder in the network. */
  put(holder: NameHolder, names: readonly NetworkName[]): void;
  /** Removes names that do not end with an attachment: those of services. */
  take(holder: NameHolder): void;
  /** Returns the names of one network, ordered by name and address. */
  of(namespaceId: string, network: string): readonly NetworkName[];
  /** Returns whether no endpoint of any network has a name. */
  isEmpty(): boolean;
  /** Returns the networks of the host network namespace in which an endpoint has a name. */
  networks(namespaceId: string): readonly string[];
  /**
   * Returns a number that changes with each change of the database, by any process. Frequent callers use it
   * to avoid reading.
   */
  version(): string;
}

export interface NameHolder {
  /** The host network namespace ({@link namespaceIdOf}). */
  readonly namespaceId: string;
  readonly network: string;
  /** For an attachment `CONTAINERID/INTERFACE`; for a service the id that its creator uses. */
  readonly holder: string;
  /**
   * The namespace of the pod, or another owner of the names. The same text of two owners is two different
   * names. Absent: unowned.
   */
  readonly owner?: string;
  /** `attachment.number`: the names end with it. */
  readonly attachment?: number | bigint;
}

export interface NetworkName {
  /** In lower case, without the final dot. */
  readonly name: string;
  readonly address: string;
  /**
   * `container`: its own name; `alias`: an additional name; `service`: its virtual address, or those of its
   * backends.
   */
  readonly kind: 'container' | 'alias' | 'service';
}

/** RFC 1035, section 2.3.4, with the underscores that names of containers have. */
const label = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/u;

/**
 * Converts a text to the form of {@link NetworkName}. Returns undefined if it is not a valid host name. Pure.
 */
export function networkNameOf(text: string): string | undefined {
  const name = text.toLowerCase().replace(/\.$/u, '');
  return name.length <= 253 && name.split('.').every((each) => label.test(each)) ? name : undefined;
}

const mappedPrefix = 0xffffn << 32n;
const keyOf = ({ family, value }: IpAddress): Buffer =>
  ipBytes({ family: 6, value: family === 4 ? mappedPrefix | value : value });

/** Returns the address that a row contains: 16 bytes, IPv4 as ::ffff:a.b.c.d. */
export function addressOfKey(key: Uint8Array): string {
  const { value } = ipFromBytes(Buffer.from(key));
  return formatIp(
    value >> 32n === 0xffffn ? { family: 4, value: value & 0xffff_ffffn } : { family: 6, value },
  );
}

export function createNameStore({ db }: Pick<NetworkDatabase, 'db'>): NameStore {
  const remove = db.prepare('DELETE FROM name WHERE realm = ? AND network = ? AND holder = ?');
  const insert = db.prepare(
    `INSERT INTO name (realm, network, name, address, kind, holder, attachment, owner, since) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
  );
  const selectSince = db.prepare(
    'SELECT name, min(since) AS since FROM name WHERE realm = ? AND network = ? AND holder = ? AND owner = ? GROUP BY name',
  );
  const selectLatest = db.prepare(
    'SELECT max(since) AS since FROM name WHERE realm = ? AND network = ? AND name = ?',
  );
  const select = db.prepare(
    'SELECT DISTINCT name, address, kind FROM name WHERE realm = ? AND network = ? ORDER BY name, address',
  );
  const selectNetworks = db.prepare('SELECT DISTINCT network FROM name WHERE realm = ? ORDER BY network');
  const selectAny = db.prepare('SELECT 1 FROM name LIMIT 1');
  const selectVersion = db.prepare('PRAGMA data_version');
  const selectChanges = db.prepare('SELECT total_changes() AS changes');
  /** Whoever gets a name is later than all who have it: also after the clock was set back. */
  const laterThanOthers = (now: number, ...named: [namespaceId: string, network: string, name: string]) => {
    const { since } = selectLatest.get(...named) as { since: number | null };
    return since === null ? now : Math.max(now, since + 1);
  };
  return {
    put({ namespaceId, network, holder, attachment = null, owner = '' }, names) {
      const had = selectSince.all(namespaceId, network, holder, owner) as unknown as {
        name: string;
        since: number;
      }[];
      const sinceOf = new Map(had.map(({ name, since }) => [name, since]));
      const now = Date.now();
      remove.run(namespaceId, network, holder);
      for (const { name } of names)
        if (!sinceOf.has(name)) sinceOf.set(name, laterThanOthers(now, namespaceId, network, name));
      for (const { name, address, kind } of names) {
        const parsed = parseIp(address);
        if (parsed === undefined)
          throw new Error(`${JSON.stringify(address)} was given as the address of a name unread`);
        insert.run(
          namespaceId,
          network,
          name,
          keyOf(parsed),
          kind,
          holder,
          attachment,
          owner,
          sinceOf.get(name) ?? now,
        );
      }
    },
    take: ({ namespaceId, network, holder }) => void remove.run(namespaceId, network, holder),
    of: (namespaceId, network) =>
      (
        select.all(namespaceId, network) as unknown as {
          name: string;
          address: Uint8Array;
          kind: NetworkName['kind'];
        }[]
      ).map(({ name, address, kind }) => ({ name, address: addressOfKey(address), kind })),
    isEmpty: () => selectAny.get() === undefined,
    networks: (namespaceId) =>
      (selectNetworks.all(namespaceId) as unknown as { network: string }[]).map(({ network }) => network),
    version: () =>
      `${(selectVersion.get() as { data_version: number }).data_version}/${(selectChanges.get() as { changes: number }).changes}`,
  };
}
