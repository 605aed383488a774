import { parseJson } from '../../../base/json/index.ts';
import type { NetworkDatabase } from '../../database/database.ts';
import type { ServerKey } from '../model/model.ts';
import type { Standing } from './drains.ts';
import { createNodePorts } from './node-ports.ts';
import type { NodePorts } from './node-ports.ts';

/**
 * The durable state of services, in the network's database. Synchronous, for one Worker. No other code writes
 * these tables.
 */
export interface ServiceStore {
  /** Yields the services one at a time, in the order in which they were added. */
  services(): Iterable<{
    readonly name: string;
    readonly source: string;
    /** A service as JSON. */
    readonly document: string;
  }>;
  states(): Iterable<{
    readonly service: string;
    readonly backend: string;
    readonly state: 'drained' | 'unhealthy';
  }>;
  /** Yields the drains that can be read. */
  standings(): Iterable<readonly [ServerKey, Standing]>;
  /** Writes the whole change atomically. It is on disk when the call returns, unless it is `isRelisted`. */
  write(change: StoredChange): void;
  readonly nodePorts: NodePorts;
  close(): void;
}

export interface StoredChange {
  /**
   * The change is made again after a power cut, so the call does not wait for the disk: an API server sends
   * it again, or a drain ends again. If only the process is lost, nothing is lost.
   */
  readonly isRelisted?: boolean;
  readonly put?: readonly {
    readonly name: string;
    readonly source: string;
    /** The service as JSON. */ readonly document: string;
  }[];
  readonly remove?: readonly string[];
  readonly states?: readonly {
    readonly service: string;
    readonly backend: string;
    readonly state: 'drained' | 'unhealthy';
    readonly is: boolean;
  }[];
  /** Virtual servers with a drain. Undefined: nothing is ending any more. */
  readonly standings?: readonly (readonly [ServerKey, Standing | undefined])[];
  /** Virtual servers in force, with their services. Undefined: no longer in force. */
  readonly servers?: readonly (readonly [ServerKey, string | undefined])[];
}

/** The value of the column `state` that the schema of the database defines for an unhealthy backend. */
const storedUnhealthy = 'unwell';

/** Returns undefined for a damaged text. */
function objectOf(text: string): object | undefined {
  try {
    const value = parseJson(text);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

export function createServiceStore(database: NetworkDatabase): ServiceStore {
  const { db } = database;
  // Services that an operator applied survive a power cut. The network's other rows end with the machine
  // anyway.
  let waits = false;
  const waitForDisk = (is: boolean): void => {
    if (is !== waits) db.exec(`PRAGMA synchronous = ${is ? 'FULL' : 'NORMAL'}`);
    waits = is;
  };
  waitForDisk(true);
  const put = db.prepare(
    'INSERT INTO service (name, source, document) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET source = excluded.source, document = excluded.document',
  );
  const remove = db.prepare('DELETE FROM service WHERE name = ?');
  const set = db.prepare(
    'INSERT OR IGNORE INTO service_backend (service, backend, state) SELECT name, ?2, ?3 FROM service WHERE name = ?1',
  );
  const unset = db.prepare('DELETE FROM service_backend WHERE service = ? AND backend = ? AND state = ?');
  const drain = db.prepare(
    'INSERT INTO service_drain (key, standing) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET standing = excluded.standing',
  );
  const drainEnds = db.prepare('DELETE FROM service_drain WHERE key = ?');
  const nodePorts = createNodePorts(database);
  return {
    nodePorts,
    *services() {
      for (const row of db.prepare('SELECT name, source, document FROM service ORDER BY rowid').iterate())
        yield {
          name: String(row['name']),
          source: String(row['source']),
          document: String(row['document']),
        };
    },
    *states() {
      for (const row of db.prepare('SELECT service, backend, state FROM service_backend').iterate())
        yield {
          service: String(row['service']),
          backend: String(row['backend']),
          state: row['state'] === storedUnhealthy ? 'unhealthy' : 'drained',
        };
    },
    *standings() {
      for (const row of db.prepare('SELECT key, standing FROM service_drain').iterate()) {
        const existing = objectOf(String(row['standing']));
        if (existing !== undefined) yield [String(row['key']), existing as unknown as Standing];
      }
    },
    write(change) {
      waitForDisk(change.isRelisted !== true);
      database.transaction(() => {
        for (const name of change.remove ?? []) remove.run(name);
        for (const { name, source, document } of change.put ?? []) put.run(name, source, document);
        for (const { service, backend, state, is } of change.states ?? [])
          (is ? set : unset).run(service, backend, state === 'unhealthy' ? storedUnhealthy : state);
        for (const [key, existing] of change.standings ?? []) {
          if (existing === undefined) drainEnds.run(key);
          else drain.run(key, JSON.stringify(existing));
        }
        for (const [key, service] of change.servers ?? []) nodePorts.write(key, service);
      });
    },
    close: () => database.close(),
  };
}
