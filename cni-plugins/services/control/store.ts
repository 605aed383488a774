import type { NetworkDatabase } from '../../attach/database.ts';
import type { ServerKey, Service } from '../model.ts';
import type { Standing } from './drains.ts';

/** What is durable of services, in the network's database. Synchronous, for one Worker; nobody else writes these tables. */
export interface ServiceStore {
  load(): StoredServices;
  /** Everything in it at once, on the disk when it returns. */
  write(change: StoredChange): void;
  close(): void;
}

export interface StoredServices {
  readonly services: readonly { readonly source: string; readonly service: Service }[];
  readonly drained: readonly { readonly service: string; readonly backend: string }[];
  readonly unwell: readonly { readonly service: string; readonly backend: string }[];
  readonly standings: readonly (readonly [ServerKey, Standing])[];
}

export interface StoredChange {
  readonly put?: readonly { readonly source: string; readonly service: Service }[];
  readonly remove?: readonly string[];
  readonly states?: readonly {
    readonly service: string;
    readonly backend: string;
    readonly state: 'drained' | 'unwell';
    readonly is: boolean;
  }[];
  /** Virtual servers where something ends; undefined: nothing does any more. */
  readonly standings?: readonly (readonly [ServerKey, Standing | undefined])[];
}

export function createServiceStore(database: NetworkDatabase): ServiceStore {
  const { db } = database;
  // What an operator applied outlives a power cut; the network's other rows end with the machine anyway.
  db.exec('PRAGMA synchronous = FULL');
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
  return {
    load() {
      const states = db.prepare('SELECT service, backend, state FROM service_backend').all() as {
        service: string;
        backend: string;
        state: string;
      }[];
      const inState = (wanted: string): { service: string; backend: string }[] =>
        states.filter(({ state }) => state === wanted).map(({ service, backend }) => ({ service, backend }));
      return {
        services: db
          .prepare('SELECT source, document FROM service ORDER BY rowid')
          .all()
          .map((row) => ({ source: String(row['source']), service: JSON.parse(String(row['document'])) as Service })),
        drained: inState('drained'),
        unwell: inState('unwell'),
        standings: db
          .prepare('SELECT key, standing FROM service_drain')
          .all()
          .map((row) => [String(row['key']), JSON.parse(String(row['standing'])) as Standing]),
      };
    },
    write(change) {
      database.transaction(() => {
        for (const name of change.remove ?? []) remove.run(name);
        for (const { source, service } of change.put ?? []) put.run(service.name, source, JSON.stringify(service));
        for (const { service, backend, state, is } of change.states ?? []) (is ? set : unset).run(service, backend, state);
        for (const [key, standing] of change.standings ?? []) {
          if (standing === undefined) drainEnds.run(key);
          else drain.run(key, JSON.stringify(standing));
        }
      });
    },
    close: () => database.close(),
  };
}
