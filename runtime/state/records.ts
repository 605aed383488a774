import { failure, reasonOf } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import type { Database, Outlives, Statement } from '../../base/storage/index.ts';

/** The fields of every record. `name` is unique among the existing records of one type. */
export interface Keyed {
  readonly id: string;
  readonly name: string;
}

/**
 * Records of one type. Every read is answered from memory, and every change is on disk before it becomes
 * visible.
 */
export interface Records<T extends Keyed> {
  get(id: string): T | undefined;
  byName(name: string): T | undefined;
  /** Returns a record by id or by an unambiguous id prefix. */
  find(idOrPrefix: string): T | undefined;
  /** In order of creation. */
  list(): readonly T[];
  /** Inserts or replaces a record; durable when it resolves. `also` is written in the same transaction. */
  put(record: T, also?: readonly Statement[], outlives?: Outlives): Promise<void>;
  /** Deletes a record. An absent record is a success. */
  delete(id: string, outlives?: Outlives): Promise<void>;
}

/**
 * One durable change of a record: inserted (`before` is absent), replaced, or deleted (`after` is absent).
 */
export interface RecordChange<T> {
  readonly before: T | undefined;
  readonly after: T | undefined;
}

/** Records that report each change, in order, once it is durable and visible. */
export interface WatchedRecords<T extends Keyed> extends Records<T> {
  /**
   * Calls the listener in the turn in which the change becomes visible. The listener must not throw. Returns
   * a function that unsubscribes.
   */
  onChange(listener: (change: RecordChange<T>) => void): () => void;
}

/** Tables of this folder. One migration of the daemon's database. */
export const recordsSchema = `
CREATE TABLE sandbox (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, record TEXT NOT NULL) STRICT;
CREATE TABLE container (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, record TEXT NOT NULL) STRICT;
`;

/** How to read a table of which a row is damaged. */
export interface DamagedRows<T> {
  /** Returns why a record cannot be used; undefined: it can. */
  readonly problemOf: (record: Partial<T>) => string | undefined;
  /** Called for each row that is left out. */
  readonly leftOut: (id: string, why: string) => void;
}

/**
 * Loads a table that an earlier run wrote, and keeps it up to date. The caller serializes writes to one
 * record (see {@link KeyedQueue}).
 * @param damaged leaves damaged rows out, and deletes them; absent: the table cannot be opened with them
 * @throws PortcullisError STORAGE_DAMAGED, and the errors of the database
 */
export async function openRecords<T extends Keyed>(
  database: Database,
  table: 'sandbox' | 'container',
  damaged?: DamagedRows<T>,
): Promise<WatchedRecords<T>> {
  const listeners = new Set<(change: RecordChange<T>) => void>();
  const report = (change: RecordChange<T>): void => {
    for (const listener of listeners) listener(change);
  };
  const byId = new Map<string, T>();
  const idByName = new Map<string, string>();
  /**
   * A write to an existing record is an update: on a full disk it may use the space that is reserved for ends
   * and removals.
   */
  const statementFor = (record: T): Statement => {
    const text = JSON.stringify(withoutBytes(record));
    return byId.has(record.id)
      ? { sql: `UPDATE ${table} SET record = ? WHERE id = ?`, params: [text, record.id], expectChanges: 1 }
      : {
          sql: `INSERT INTO ${table} (id, name, record) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET record = excluded.record`,
          params: [record.id, record.name, text],
        };
  };
  const deletion = (id: string): Statement => ({ sql: `DELETE FROM ${table} WHERE id = ?`, params: [id] });
  for (const row of await database.all<Row>(`SELECT id, name, record FROM ${table} ORDER BY rowid`)) {
    const record = readRow(row, damaged?.problemOf);
    if (typeof record === 'string') {
      if (damaged === undefined) throw damagedRow(table, row.id, record);
      damaged.leftOut(row.id, record);
      // If this fails, the next start leaves the row out again.
      await database.write([deletion(row.id)], 'process').catch(() => undefined);
      continue;
    }
    byId.set(record.id, record);
    idByName.set(record.name, record.id);
  }
  return {
    get: (id) => byId.get(id),
    byName: (name) => byId.get(idByName.get(name) ?? ''),
    find: (idOrPrefix) => byId.get(idOrPrefix) ?? uniqueByPrefix(byId, idOrPrefix),
    list: () => [...byId.values()],
    put: async (record, also = [], outlives = 'power-loss') => {
      // A write that was reported as failed may have taken effect. Its row must not occupy a name that no
      // record here has.
      const unknown = {
        sql: `DELETE FROM ${table} WHERE name = ? AND id <> ?`,
        params: [record.name, record.id],
      };
      const makesRoom = byId.has(idByName.get(record.name) ?? '') ? [] : [unknown];
      await database.write([...makesRoom, statementFor(record), ...also], outlives);
      const before = byId.get(record.id);
      byId.set(record.id, record);
      idByName.set(record.name, record.id);
      report({ before, after: record });
    },
    delete: async (id, outlives = 'power-loss') => {
      await database.write([deletion(id)], outlives);
      const record = byId.get(id);
      byId.delete(id);
      if (record !== undefined && idByName.get(record.name) === id) idByName.delete(record.name);
      if (record !== undefined) report({ before: record, after: undefined });
    },
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

interface Row extends Keyed {
  readonly record: string;
}

/** Returns the record of a row, or why it cannot be used. */
function readRow<T extends Keyed>(row: Row, problemOf?: DamagedRows<T>['problemOf']): T | string {
  let record: Partial<T> | null;
  try {
    record = parseJson(row.record, revive) as Partial<T> | null;
  } catch (thrown) {
    return `it is not JSON: ${reasonOf(thrown)}`;
  }
  if (typeof record !== 'object' || record?.id !== row.id || record.name !== row.name)
    return 'it does not have the id and the name of its row';
  return problemOf?.(record) ?? (record as T);
}

function damagedRow(table: string, id: string, why: string): Error {
  const fix = 'check the disk and the kernel log; restore the database from a backup, or start without it';
  return failure('STORAGE_DAMAGED', 'data-loss', `read record of ${table}`, id, why, fix);
}

function uniqueByPrefix<T>(byId: ReadonlyMap<string, T>, prefix: string): T | undefined {
  if (prefix === '') return undefined;
  const hits = [...byId].filter(([id]) => id.startsWith(prefix));
  return hits.length === 1 ? hits[0]?.[1] : undefined;
}

/**
 * Returns a copy in which bytes (an environment value may be any bytes) are base64. A copy costs a fraction
 * of JSON.stringify with a function, which gets a Buffer only as a list of numbers, and each number.
 */
export function withoutBytes(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Uint8Array) return { $base64: Buffer.from(value).toString('base64') };
  if (Array.isArray(value)) return value.map(withoutBytes);
  const copy: Record<string, unknown> = {};
  for (const key of Object.keys(value)) {
    const part = withoutBytes((value as Record<string, unknown>)[key]);
    if (key === '__proto__')
      Object.defineProperty(copy, key, { value: part, configurable: true, enumerable: true, writable: true });
    else copy[key] = part;
  }
  return copy;
}

function revive(_key: string, value: unknown): unknown {
  if (
    typeof value !== 'object' ||
    value === null ||
    !('$base64' in value) ||
    typeof value.$base64 !== 'string'
  )
    return value;
  return Uint8Array.from(Buffer.from(value.$base64, 'base64'));
}
