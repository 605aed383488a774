import { parseJson } from '../../base/json/index.ts';
import { append } from '../../base/lists/index.ts';
import type { Database, SqlRow, SqlValue } from '../../base/storage/index.ts';
import type { FleetVerdict } from './api.types.ts';

/** Reads of the database of the aggregator. */
export type Reader = Pick<Database, 'all' | 'get'>;

/** Each part that is given must match. Times are in milliseconds since 1970. */
export interface VerdictFilter {
  readonly node?: string;
  readonly outcome?: string;
  readonly namespace?: string;
  /** A part of the reference or of the digest of the image. */
  readonly image?: string;
  /** A code of the reasons. */
  readonly reason?: string;
  /** The outcome of the rule without the exception of the policy that overrode it. */
  readonly would?: string;
  readonly since?: number;
  readonly until?: number;
}

/** The position after which a list continues: the position of the last verdict of the previous page. */
export interface VerdictPosition {
  readonly time: number;
  readonly node: number;
  readonly seq: number;
}

/** A page of a list, and the position after its last entry if there are more. */
export interface Page<Entry, Position> {
  readonly entries: readonly Entry[];
  readonly next?: Position;
}

const columns = `row.node AS id, node.name AS node, row.seq, row.time, outcome, reference, digest, namespace, verdict,
  revision, would`;
const tables = `row JOIN node ON node.id = row.node JOIN image ON image.id = row.image
  LEFT JOIN verdict_text ON verdict_text.id = row.verdict`;

/**
 * Lists verdicts, the newest first, with keyset pagination: the cost of a page does not depend on its
 * position.
 */
export async function listVerdicts(
  reader: Reader,
  filter: VerdictFilter,
  after: VerdictPosition | undefined,
  most: number,
): Promise<Page<FleetVerdict, VerdictPosition>> {
  const { conditions, params } = await conditionsOf(reader, filter);
  const begin = after === undefined ? '' : ' AND (row.time, row.node, row.seq) < (?, ?, ?)';
  const rows = await reader.all(
    `SELECT ${columns} FROM ${tables} WHERE outcome IS NOT NULL${conditions}${begin}
     ORDER BY row.time DESC, row.node DESC, row.seq DESC LIMIT ?`,
    [...params, ...(after === undefined ? [] : [after.time, after.node, after.seq]), most + 1],
  );
  const last = rows[most - 1];
  return {
    entries: rows.slice(0, most).map(verdictOf),
    ...(rows.length > most &&
      last !== undefined && {
        next: { time: Number(last['time']), node: Number(last['id']), seq: Number(last['seq']) },
      }),
  };
}

/** Counts verdicts by outcome. */
export async function countVerdicts(
  reader: Reader,
  filter: VerdictFilter,
): Promise<Readonly<Record<string, number>>> {
  const { conditions, params } = await conditionsOf(reader, filter);
  const rows = await reader.all(
    `SELECT outcome, count(*) AS count FROM row WHERE outcome IS NOT NULL${conditions} GROUP BY outcome`,
    params,
  );
  return Object.fromEntries(rows.map(({ outcome, count }) => [String(outcome), Number(count)]));
}

/**
 * If a search finds more images or verdicts than this, rows are tested in the order of time, because the page
 * is soon full. Otherwise, the rows of each image or verdict are looked up.
 */
const mostLookedUp = 64;

interface Found {
  /** The column of a row. */
  readonly column: string;
  /** Selects the values of the column that match. */
  readonly select: string;
  readonly params: readonly SqlValue[];
}

async function conditionsOf(
  reader: Reader,
  filter: VerdictFilter,
): Promise<{ readonly conditions: string; readonly params: readonly SqlValue[] }> {
  const conditions: string[] = [];
  const params: SqlValue[] = [];
  const add = (sql: string, ...values: readonly SqlValue[]): void => {
    conditions.push(` AND ${sql}`);
    append(params, values);
  };
  const { node, outcome, namespace, since, until } = filter;
  if (node !== undefined) add('row.node = (SELECT id FROM node WHERE name = ?)', node);
  if (outcome !== undefined) add('outcome = ?', outcome);
  if (namespace !== undefined) add('namespace = ?', namespace);
  if (since !== undefined) add('row.time >= ?', since);
  if (until !== undefined) add('row.time < ?', until);
  for (const { column, select, params: values } of searchesOf(filter)) {
    const found = await reader.all(`SELECT 1 FROM (${select} LIMIT ${mostLookedUp + 1})`, values);
    // The sign + prevents SQLite from using the index of the column.
    add(`${found.length > mostLookedUp ? '+' : ''}${column} IN (${select})`, ...values);
  }
  return { conditions: conditions.join(''), params };
}

/** Returns the searches of a filter. There are far fewer images and texts than rows. */
function searchesOf({ image, reason, would }: VerdictFilter): readonly Found[] {
  const part = `%${(image ?? '').replace(/[\\%_]/gu, '\\$&')}%`;
  const like = "reference LIKE ? ESCAPE '\\' OR digest LIKE ? ESCAPE '\\'";
  const verdict = 'row.verdict';
  return [
    ...(image === undefined
      ? []
      : [{ column: 'row.image', select: `SELECT id FROM image WHERE ${like}`, params: [part, part] }]),
    ...(reason === undefined
      ? []
      : [{ column: verdict, select: 'SELECT verdict FROM reason WHERE code = ?', params: [reason] }]),
    ...(would === undefined
      ? []
      : [{ column: verdict, select: 'SELECT id FROM verdict_text WHERE would = ?', params: [would] }]),
  ];
}

function verdictOf(row: SqlRow): FleetVerdict {
  const would = row['would'];
  return {
    node: String(row['node']),
    seq: Number(row['seq']),
    time: new Date(Number(row['time'])).toISOString(),
    outcome: String(row['outcome']),
    reference: String(row['reference']),
    digest: String(row['digest']),
    namespace: String(row['namespace']),
    verdict: String(row['verdict']),
    policyRevision: String(row['revision']),
    ...(typeof would === 'string' && { would }),
  };
}

/** Returns the text of a verdict as JSON, or undefined when it is not stored. */
export async function textOfVerdict(reader: Reader, id: string): Promise<string | undefined> {
  const row = await reader.get('SELECT json FROM verdict_text WHERE id = ?', [id]);
  return row === undefined ? undefined : String(row['json']);
}

/** Returns the newest rows with a verdict. */
export async function rowsOfVerdict(
  reader: Reader,
  id: string,
  most: number,
): Promise<readonly FleetVerdict[]> {
  const rows = await reader.all(
    `SELECT ${columns} FROM ${tables} WHERE outcome IS NOT NULL AND verdict = ?
     ORDER BY row.time DESC, row.node DESC, row.seq DESC LIMIT ?`,
    [id, most],
  );
  return rows.map(verdictOf);
}

/**
 * A node as lists show it. The summary is JSON (intake/summary.ts); empty when the node has sent no state.
 */
export interface ListedNode {
  readonly id: number;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly seen: number;
  readonly seq: number;
  readonly signed: number;
  readonly summary: string;
  readonly problems: readonly string[];
}

/** Lists nodes in the order of their names. */
export async function listNodes(reader: Reader, after = '', most = -1): Promise<readonly ListedNode[]> {
  const rows = await reader.all(
    `SELECT id, name, labels, seen, seq, signed, summary,
       (SELECT group_concat(DISTINCT code) FROM problem WHERE problem.node = node.id) AS problems
     FROM node WHERE name > ? ORDER BY name LIMIT ?`,
    [after, most],
  );
  return rows.map((row) => ({
    id: Number(row['id']),
    name: String(row['name']),
    labels: parseJson(String(row['labels'])) as ListedNode['labels'],
    seen: Number(row['seen']),
    seq: Number(row['seq']),
    signed: Number(row['signed']),
    summary: String(row['summary']),
    problems: row['problems'] === null ? [] : String(row['problems']).split(','),
  }));
}

/** A problem of the log of a node. */
export interface StoredProblem {
  readonly code: string;
  readonly seq: number;
  /** ISO 8601: when it was found. */
  readonly at: string;
  readonly text: string;
}

/** Returns the state of a node as JSON (empty when it has sent none), its checkpoint and its problems. */
export async function readNode(
  reader: Reader,
  name: string,
): Promise<
  | {
      readonly state: string;
      readonly key: string;
      readonly note: string;
      readonly problems: readonly StoredProblem[];
    }
  | undefined
> {
  const row = await reader.get('SELECT id, state, key, note FROM node WHERE name = ?', [name]);
  if (row === undefined) return undefined;
  const problems = await reader.all(
    'SELECT code, seq, at, text FROM problem WHERE node = ? ORDER BY at, seq',
    [Number(row['id'])],
  );
  return {
    state: String(row['state']),
    key: String(row['key']),
    note: String(row['note']),
    problems: problems.map(({ code, seq, at, text }) => ({
      code: String(code),
      seq: Number(seq),
      at: new Date(Number(at)).toISOString(),
      text: String(text),
    })),
  };
}

/** A row of a node's log as the node wrote it. */
export interface StoredRow {
  readonly seq: number;
  readonly entry: string;
  readonly evidence: string;
  readonly hash: string;
}

/** The size of the entries of a page, in bytes. A page has at least one row, whatever its size. */
const mostPageBytes = 8 * 1024 * 1024;

/**
 * Lists the rows of a node's log in their order. The node decides about the size of its rows, so a page ends
 * also when its rows are large.
 */
export async function listRows(
  reader: Reader,
  node: string,
  after: number,
  most: number,
): Promise<Page<StoredRow, number>> {
  const where = 'node = (SELECT id FROM node WHERE name = ?) AND seq > ?';
  const sizes = await reader.all(
    `SELECT seq, octet_length(entry) AS bytes FROM row WHERE ${where} ORDER BY seq LIMIT ?`,
    [node, after, most + 1],
  );
  let count = 0;
  for (let bytes = 0; count < Math.min(sizes.length, most); count += 1) {
    bytes += Number(sizes[count]?.['bytes']);
    if (count > 0 && bytes > mostPageBytes) break;
  }
  const last = Number(sizes[count - 1]?.['seq'] ?? after);
  const rows = await reader.all(
    `SELECT seq, entry, evidence, hash FROM row WHERE ${where} AND seq <= ? ORDER BY seq`,
    [node, after, last],
  );
  const entries = rows.map(({ seq, entry, evidence, hash }) => ({
    seq: Number(seq),
    entry: String(entry),
    evidence: String(evidence),
    hash: String(hash),
  }));
  return { entries, ...(sizes.length > count && { next: last }) };
}
