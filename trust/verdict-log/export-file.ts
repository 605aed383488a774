import { parseJson } from '../../base/json/index.ts';
import { attempt, PortcullisError } from '../../base/errors/index.ts';
import { partsNamed } from '../evidence/evidence-parts.ts';
import { recordOf } from '../json/strict-json.ts';
import type { LogRow } from './chain.ts';
import type { LogSource, StoredCheckpoint, TextKind, UnreadableRow } from './source.ts';

const format = 'portcullis.dev/verdict-log/export/v1';
const kinds: readonly TextKind[] = ['verdict', 'dossier', 'policy', 'evidence'];

/**
 * Exports a log as JSON Lines: a head line, rows, checkpoints, then each text that a row names, as a string,
 * byte for byte.
 * @param only exports one row with its texts, to replay it elsewhere; the file then does not contain the
 * chain around it
 * @throws PortcullisError `TRUST_LOG_DAMAGED` when a row cannot be read
 */
export function* exportLog(source: LogSource, only?: number): Generator<string> {
  yield line({ format });
  const texts = new Map<string, readonly [TextKind, string]>();
  for (const row of source.rows()) {
    if ('problem' in row) throw damaged(source.name, `row ${row.seq}: ${row.problem}`);
    if (only !== undefined && row.seq !== only) continue;
    yield line({ row });
    for (const [kind, id] of textsNamed(row.entry)) texts.set(`${kind} ${id}`, [kind, id]);
  }
  if (only === undefined) for (const checkpoint of source.checkpoints()) yield line({ checkpoint });
  const parts = new Set<string>();
  for (const [kind, id] of texts.values()) {
    const text = source.text(kind, id);
    if (text === undefined) continue;
    yield line({ text, kind, id });
    if (kind === 'dossier') for (const digest of partsNamed(text)) parts.add(digest);
  }
  for (const id of parts) {
    const text = source.text('evidence', id);
    if (text !== undefined) yield line({ text, kind: 'evidence', id });
  }
}

function textsNamed(entry: string): readonly (readonly [TextKind, string])[] {
  const record = attempt(() => recordOf(parseJson(entry)));
  return kinds.flatMap((kind) => {
    const id = record?.[kind];
    return typeof id === 'string' && id !== '' ? [[kind, id] as const] : [];
  });
}

/**
 * Parses the output of {@link exportLog}.
 * @throws PortcullisError `TRUST_LOG_EXPORT_UNREADABLE` with the line
 */
export function readExport(name: string, text: string): LogSource {
  const rows: (LogRow | UnreadableRow)[] = [];
  const checkpoints: StoredCheckpoint[] = [];
  const texts = new Map<string, string>();
  const lines = text.split('\n');
  if (lines.at(-1) !== '')
    throw unreadable(name, lines.length, 'its last line is incomplete: the file was cut off');
  lines.pop();
  if (lines.length === 0) throw unreadable(name, 1, 'it is empty');
  lines.forEach((each, index) => {
    const record = parseLine(name, index + 1, each);
    const [row, checkpoint] = [recordOf(record['row']), recordOf(record['checkpoint'])];
    if (index === 0) {
      if (record['format'] !== format)
        throw unreadable(name, 1, `it is not an exported verdict log: its first line does not say ${format}`);
    } else if (isRow(row)) rows.push(row);
    else if (typeof checkpoint?.['size'] === 'number' && typeof checkpoint['note'] === 'string')
      checkpoints.push({ size: checkpoint['size'], note: checkpoint['note'] });
    else if (typeof record['text'] === 'string' && kinds.includes(record['kind'] as TextKind))
      texts.set(`${String(record['kind'])} ${String(record['id'])}`, record['text']);
    else throw unreadable(name, index + 1, 'it is not a row, checkpoint or text');
  });
  return {
    name,
    rows: () => rows,
    checkpoints: () => checkpoints,
    text: (kind, id) => texts.get(`${kind} ${id}`),
    verdictIds: () =>
      [...texts.keys()]
        .filter((key) => key.startsWith('verdict '))
        .map((key) => key.slice('verdict '.length)),
    damage: () => [],
  };
}

function parseLine(name: string, number: number, text: string): Readonly<Record<string, unknown>> {
  try {
    const record = recordOf(parseJson(text));
    if (record !== undefined) return record;
  } catch {
    // Reported below.
  }
  throw unreadable(name, number, 'it is not a JSON object');
}

function isRow(
  row: Readonly<Record<string, unknown>> | undefined,
): row is Readonly<Record<string, unknown>> & LogRow {
  return (
    Number.isSafeInteger(row?.['seq']) &&
    ['entry', 'evidence', 'hash'].every((field) => typeof row?.[field] === 'string')
  );
}

function line(value: unknown): string {
  return `${JSON.stringify(value)}\n`;
}

function unreadable(name: string, number: number, why: string): PortcullisError {
  // A file whose first line is no row is most likely another file.
  const isOther = number === 1;
  return new PortcullisError({
    code: 'TRUST_LOG_EXPORT_UNREADABLE',
    kind: isOther ? 'invalid' : 'data-loss',
    attempted: 'read exported verdict log',
    on: `${name}:${number}`,
    why,
    fix: isOther
      ? 'name a file that portcullis verdicts export wrote'
      : 'export it again: portcullis verdicts export',
  });
}

function damaged(name: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_LOG_DAMAGED',
    kind: 'data-loss',
    attempted: 'export verdict log',
    on: name,
    why,
    fix: 'see what is wrong: portcullis verdicts verify',
  });
}
