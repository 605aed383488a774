import { join } from 'node:path';
import type { PortcullisError } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import { openDatabase } from '../../base/storage/index.ts';
import type { Database, SqlRow, Statement } from '../../base/storage/index.ts';
import { newNode } from './node-record.ts';
import type { AcceptedRow, LogProblem, NodeRecord } from './node-record.ts';
import { fleetMigrations } from './schema.ts';

/** A state of a node as JSON, and its parts that lists read without the rest. */
export interface StoredState {
  readonly json: string;
  readonly summary: string;
  /** JSON: a list of {@link ImageOnNode}. */
  readonly running: string;
  /** JSON; empty when the node has evaluated no release. */
  readonly upcoming: string;
}

/** An image that runs on a node: its reference, its id, the verdict, and the number of its containers. */
export type ImageOnNode = readonly [reference: string, imageId: string, verdict: string, containers: number];

/** The changes of one request of a node. */
export interface NodeUpdate {
  /** The node after the update. Its `id` is the `id` of the node before the update. */
  readonly node: NodeRecord;
  readonly rows: readonly AcceptedRow[];
  readonly problems: readonly LogProblem[];
  /** The state of the node. Absent: it is unchanged. */
  readonly state?: StoredState;
  /** A policy that came into force on the node: its revision, and its sources as JSON. */
  readonly policy?: { readonly revision: string; readonly json: string };
  /** The clock of the node agrees with that of the aggregator, which is not behind then. Absent: false. */
  readonly isSameTime?: boolean;
}

/** The result of a removal. */
export interface ExpiredRows {
  readonly removed: number;
  /** How much older than the limit the rows are that the next removals remove, in ms. */
  readonly overdueMs: number;
}

export interface FleetStore {
  /** For queries. They have their own thread, so that no node waits for a long query. */
  readonly database: Pick<Database, 'all' | 'get'>;
  node(name: string): Promise<NodeRecord>;
  /** Returns the hash of a stored row, or undefined when the store has no such row. */
  hashOf(node: NodeRecord, seq: number): Promise<string | undefined>;
  /** Stores an update in one transaction. It is on the disk when the promise resolves. */
  keep(update: NodeUpdate): Promise<void>;
  /**
   * Removes rows that came before `before`, at most those of six hours, and then rows of the nodes with the
   * most bytes, until all rows have at most `bytes`. Then removes texts and images without rows.
   */
  expire(limits: { readonly before: number; readonly bytes: number }): Promise<ExpiredRows>;
  /** Removes a node with all its data. @returns false when the node does not exist */
  forget(name: string): Promise<boolean>;
  close(): Promise<void>;
}

/**
 * The maximum number of problems of one code that are kept of one node, so that problems with other codes are
 * also kept.
 */
const mostProblems = 100;
/** The maximum number of policies that are kept of one node: the latest policies. */
const mostPolicies = 20;
/**
 * The number of rows that one transaction removes. It is limited because other work waits for the
 * transaction.
 */
const removedAtOnce = 1000;
/**
 * One removal removes the rows of at most this time because of their age. If the clock jumps forward, an
 * operator can correct it before all rows are gone.
 */
const removedPeriodMs = 6 * 3_600_000;

/**
 * Opens the database of the aggregator in a folder; creates it if it does not exist.
 * @param onLost called when the database can no longer be used
 * @throws PortcullisError STORAGE_…
 */
export async function openFleetStore(
  folder: string,
  onLost?: (error: PortcullisError) => void,
): Promise<FleetStore> {
  const path = join(folder, 'fleet.db');
  const options = { path, migrations: fleetMigrations, ...(onLost !== undefined && { onLost }) };
  const database = await openDatabase(options);
  try {
    return storeOn(database, await openDatabase(options));
  } catch (thrown) {
    await database.close();
    throw thrown;
  }
}

function storeOn(database: Database, queries: Database): FleetStore {
  return {
    database: queries,
    async node(name) {
      const row = await database.get(
        'SELECT id, name, labels, seen, seq, hash, key, signed, note, bytes FROM node WHERE name = ?',
        [name],
      );
      return row === undefined ? newNode(name) : recordOf(row);
    },
    async hashOf({ id }, seq) {
      const row = await database.get('SELECT hash FROM row WHERE node = ? AND seq = ?', [id, seq]);
      return row === undefined ? undefined : String(row['hash']);
    },
    async keep(update) {
      const { node } = update;
      const at = node.seen;
      await database.write([
        ...runningRemoval(update),
        ...(update.isSameTime === true ? [datedBack(node)] : []),
        nodeStatement(update),
        ...runningStatements(update),
        ...update.rows.flatMap((row) => rowStatements(node.name, row, at)),
        ...update.problems.map(({ code, seq, text }) => ({
          sql: `INSERT OR IGNORE INTO problem (node, code, seq, at, text)
            SELECT id, ?, ?, ?, ? FROM node WHERE name = ?
            AND (SELECT count(*) FROM problem WHERE node = node.id AND code = ?) < ${mostProblems}`,
          params: [code, seq, at, text, node.name, code],
        })),
        ...policyStatements(update),
      ]);
    },
    expire: (limits) => expire(database, limits),
    async forget(name) {
      const row = await database.get('SELECT id FROM node WHERE name = ?', [name]);
      if (row === undefined) return false;
      const id = Number(row['id']);
      while ((await removeRows(database, id, Number.MAX_SAFE_INTEGER)) > 0);
      await database.write([
        { sql: 'DELETE FROM problem WHERE node = ?', params: [id] },
        { sql: 'DELETE FROM running WHERE node = ?', params: [id] },
        { sql: 'DELETE FROM policy_node WHERE node = ?', params: [id] },
        unnamedPolicies,
        { sql: 'DELETE FROM node WHERE id = ?', params: [id] },
        ...orphans,
      ]);
      return true;
    },
    async close() {
      // The connection that closes last empties the log of the database.
      await queries.close();
      await database.close();
    },
  };
}

function recordOf(row: SqlRow): NodeRecord {
  return {
    id: Number(row['id']),
    name: String(row['name']),
    labels: parseJson(String(row['labels'])) as NodeRecord['labels'],
    seen: Number(row['seen']),
    seq: Number(row['seq']),
    hash: String(row['hash']),
    key: String(row['key']),
    signed: Number(row['signed']),
    note: String(row['note']),
    bytes: Number(row['bytes']),
  };
}

/** A node whose last request is later than now by this time, in ms, sent it while the clock was ahead. */
const aheadMs = 3_600_000;

/**
 * Gives rows that came while the clock was ahead the present time. Otherwise, they and all later rows of the
 * node would not be removed before the time that the clock had. If the clock is behind instead, as before it
 * is set at a boot, all rows seem to have come later: with its time, they would be removed when it is set.
 */
const datedBack = ({ name, seen }: NodeRecord): Statement => ({
  sql: `UPDATE row SET received = ?
    WHERE node = (SELECT id FROM node WHERE name = ? AND seen > ?) AND received > ?`,
  params: [seen, name, seen + aheadMs, seen],
});

/**
 * Writes the node. Its chain grows only if its last row is still the row against which the update was
 * checked.
 */
function nodeStatement({ node, rows, state }: NodeUpdate): Statement {
  const { name, labels, seen, seq, hash, key, signed, note } = node;
  return {
    sql: `INSERT INTO node
        (name, labels, seen, seq, hash, key, signed, note, state, summary, running, upcoming, bytes)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT (name) DO UPDATE SET labels = excluded.labels, seen = excluded.seen, seq = excluded.seq,
        hash = excluded.hash, key = excluded.key, signed = excluded.signed, note = excluded.note,
        state = iif(excluded.state = '', state, excluded.state),
        summary = iif(excluded.state = '', summary, excluded.summary),
        running = iif(excluded.state = '', running, excluded.running),
        upcoming = iif(excluded.state = '', upcoming, excluded.upcoming), bytes = bytes + excluded.bytes
      WHERE node.seq = ?`,
    params: [
      ...[name, JSON.stringify(labels), seen, seq, hash, key, signed, note],
      ...[state?.json ?? '', state?.summary ?? '', state?.running ?? '', state?.upcoming ?? ''],
      ...[bytesOf(rows), seq - rows.length],
    ],
    expectChanges: 1,
  };
}

/** Removes the images of a node before its list of images is replaced by another one. */
const runningRemoval = ({ node, state }: NodeUpdate): readonly Statement[] =>
  state === undefined
    ? []
    : [
        {
          sql: 'DELETE FROM running WHERE node = (SELECT id FROM node WHERE name = ? AND running <> ?)',
          params: [node.name, state.running],
        },
      ];

/** Writes the images of a node, unless they are those that are stored. */
const runningStatements = ({ node, state }: NodeUpdate): readonly Statement[] =>
  state === undefined
    ? []
    : [
        {
          sql: `INSERT OR IGNORE INTO running (reference, image, node, verdict, containers)
            SELECT one.value ->> 0, one.value ->> 1, node.id, one.value ->> 2, one.value ->> 3
            FROM node, json_each(?) AS one WHERE node.name = ?`,
          params: [state.running, node.name],
        },
      ];

/** The fields that searches need are stored beside the entry. In UTF-8, a character has up to three bytes. */
function bytesOfRow({ entry, verdict }: AcceptedRow): number {
  const { id = '', reference = '', digest = '', namespace = '', revision = '', text } = verdict ?? {};
  return [entry, id, reference, digest, namespace, revision, text?.json ?? ''].reduce(
    (sum, one) => sum + Buffer.byteLength(one),
    256,
  );
}

/** Returns the bytes of rows and their texts, as far as the limit of the store counts them. */
export const bytesOf = (rows: readonly AcceptedRow[]): number =>
  rows.reduce((sum, row) => sum + bytesOfRow(row), 0);

function rowStatements(node: string, row: AcceptedRow, at: number): Statement[] {
  const { seq, entry, evidence, hash, verdict } = row;
  const insert = {
    sql: `INSERT INTO row (node, seq, received, bytes, entry, evidence, hash, time, outcome, namespace, revision, verdict, image)
      SELECT id, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT id FROM image WHERE reference = ? AND digest = ?)
      FROM node WHERE name = ?`,
    params: [
      ...[seq, at, bytesOfRow(row), entry, evidence, hash, verdict?.time ?? null, verdict?.outcome ?? null],
      ...[verdict?.namespace ?? null, verdict?.revision ?? null, verdict?.id ?? null],
      ...[verdict?.reference ?? null, verdict?.digest ?? null, node],
    ],
    expectChanges: 1,
  };
  if (verdict === undefined) return [insert];
  const { id, reference, digest, text } = verdict;
  return [
    { sql: 'INSERT OR IGNORE INTO image (reference, digest) VALUES (?, ?)', params: [reference, digest] },
    insert,
    ...(text === undefined
      ? []
      : [
          {
            sql: 'INSERT OR IGNORE INTO verdict_text (id, json, would) VALUES (?, ?, ?)',
            params: [id, text.json, text.would ?? null],
          },
          ...text.codes.map((code) => ({
            sql: 'INSERT OR IGNORE INTO reason (code, verdict) VALUES (?, ?)',
            params: [code, id],
          })),
        ]),
  ];
}

/** Removes the policies that no node refers to. */
const unnamedPolicies: Statement = {
  sql: 'DELETE FROM policy WHERE NOT EXISTS (SELECT 1 FROM policy_node WHERE revision = policy.revision)',
};

/** Writes a policy, and that the node has it. A node cannot displace the policies of another one. */
function policyStatements({ node, policy }: NodeUpdate): readonly Statement[] {
  if (policy === undefined) return [];
  const id = '(SELECT id FROM node WHERE name = ?)';
  return [
    {
      sql: 'INSERT OR IGNORE INTO policy (revision, json) VALUES (?, ?)',
      params: [policy.revision, policy.json],
    },
    {
      // The clock was ahead when these came: as the newest, they would displace every later policy.
      sql: `UPDATE policy_node SET received = ? WHERE node = ${id} AND received > ?`,
      params: [node.seen, node.name, node.seen],
    },
    {
      sql: `INSERT INTO policy_node (node, revision, received) VALUES (${id}, ?, ?)
        ON CONFLICT (node, revision) DO UPDATE SET received = excluded.received`,
      params: [node.name, policy.revision, node.seen],
    },
    {
      sql: `DELETE FROM policy_node WHERE node = ${id} AND revision NOT IN (
        SELECT revision FROM policy_node WHERE node = ${id}
        ORDER BY revision = ? DESC, received DESC LIMIT ${mostPolicies})`,
      params: [node.name, node.name, policy.revision],
    },
    unnamedPolicies,
  ];
}

/** Removes the texts, reasons and images that no row refers to. */
const orphans: readonly Statement[] = [
  // Without the condition of the index row_verdict, SQLite does not use it, and reads all rows for each text.
  {
    sql: 'DELETE FROM verdict_text WHERE NOT EXISTS (SELECT 1 FROM row WHERE verdict = verdict_text.id AND outcome IS NOT NULL)',
  },
  { sql: 'DELETE FROM reason WHERE NOT EXISTS (SELECT 1 FROM verdict_text WHERE id = reason.verdict)' },
  {
    sql: 'DELETE FROM image WHERE NOT EXISTS (SELECT 1 FROM row WHERE image = image.id AND outcome IS NOT NULL)',
  },
];

async function expire(
  database: Database,
  { before, bytes }: { readonly before: number; readonly bytes: number },
): Promise<ExpiredRows> {
  let removed = 0;
  const oldest = await oldestRows(database);
  const first = oldest.reduce((least, { received }) => Math.min(least, received), Infinity);
  const until = Math.min(before, first + removedPeriodMs);
  for (const { node, received } of oldest) {
    if (received >= until) continue;
    for (let count = removedAtOnce; count === removedAtOnce; removed += count)
      count = await removeRows(database, node, until);
  }
  for (;;) {
    const total = await database.get('SELECT coalesce(sum(bytes), 0) AS bytes FROM node');
    if (Number(total?.['bytes']) <= bytes) break;
    // Rows of the node with the most bytes are removed, so that no node displaces the rows of another node.
    const largest = await database.get('SELECT id FROM node ORDER BY bytes DESC LIMIT 1');
    const count = await removeRows(database, Number(largest?.['id']), Number.MAX_SAFE_INTEGER);
    if (count === 0) break;
    removed += count;
  }
  if (removed > 0) await database.write(orphans);
  return { removed, overdueMs: before - until };
}

/** Returns when the first row of each node came. A node without rows is absent. */
async function oldestRows(database: Database): Promise<readonly { node: number; received: number }[]> {
  const rows = await database.all(
    `SELECT id, (SELECT received FROM row WHERE node = node.id ORDER BY seq LIMIT 1) AS received FROM node`,
  );
  return rows.flatMap(({ id, received }) =>
    received === null ? [] : [{ node: Number(id), received: Number(received) }],
  );
}

/**
 * Removes the first rows of a node, at most {@link removedAtOnce}, up to the first one that did not come
 * before a time: without a row between others, the chain of the node could not be verified.
 */
async function removeRows(database: Database, node: number, before: number): Promise<number> {
  const first = `SELECT seq, received FROM row WHERE node = ? ORDER BY seq LIMIT ${removedAtOnce}`;
  const kept = await database.get(
    `SELECT coalesce(min(iif(received >= ?, seq, NULL)), max(seq) + 1) AS seq FROM (${first})`,
    [before, node],
  );
  const where = 'node = ? AND seq < ?';
  // Without rows, it is null, and no row is before it.
  const params = [node, kept?.['seq'] ?? null];
  const [, result] = await database.write([
    {
      sql: `UPDATE node SET bytes = bytes - (SELECT coalesce(sum(bytes), 0) FROM row WHERE ${where}) WHERE id = ?`,
      params: [...params, node],
    },
    { sql: `DELETE FROM row WHERE ${where}`, params },
  ]);
  return result?.changes ?? 0;
}
