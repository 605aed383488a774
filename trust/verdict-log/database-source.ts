import { attempt, PortcullisError } from '../../base/errors/index.ts';
import { openReadOnly } from '../../base/storage/index.ts';
import type { SqlRow, SqlValue } from '../../base/storage/index.ts';
import type { LogRow } from './chain.ts';
import type { LogSource, TextKind, UnreadableRow } from './source.ts';

/** A database file opened for reading. A daemon may be writing to it at the same time. Every call blocks. */
export interface DatabaseLog extends LogSource {
  close(): void;
}

const tables: Readonly<Record<TextKind, string>> = {
  verdict: 'SELECT CAST(json AS BLOB) AS text FROM verdict_text WHERE id = ?',
  dossier: 'SELECT CAST(json AS BLOB) AS text FROM dossier WHERE id = ?',
  policy: 'SELECT CAST(json AS BLOB) AS text FROM policy_text WHERE digest = ?',
  evidence: 'SELECT CAST(bytes AS BLOB) AS text FROM evidence_part WHERE digest = ?',
};

/**
 * Opens the database of a daemon (`state.db` in its root folder) to read its verdict log.
 * @throws PortcullisError `TRUST_LOG_ABSENT`, and the errors of base/storage
 */
export function openDatabaseLog(path: string): DatabaseLog {
  const database = openReadOnly(path);
  const hasTable = (name: string): boolean =>
    database.get("SELECT 1 AS yes FROM sqlite_schema WHERE type = 'table' AND name = ?", [name]) !==
    undefined;
  try {
    if (!hasTable('verdict_checkpoint')) {
      throw new PortcullisError({
        code: 'TRUST_LOG_ABSENT',
        kind: 'precondition',
        attempted: 'read verdict log',
        on: path,
        why: hasTable('verdict_log')
          ? 'its log was written by a version that kept no chain'
          : 'the database contains no verdict log',
        fix: hasTable('verdict_log')
          ? 'start the daemon of this version once: it adds the old rows to the chain'
          : 'name state.db in the root folder of a daemon',
      });
    }
  } catch (error) {
    database.close();
    throw error;
  }
  return {
    name: path,
    *rows() {
      const sql =
        'SELECT seq, CAST(entry AS BLOB) AS entry, CAST(evidence AS BLOB) AS evidence, CAST(hash AS BLOB) AS hash FROM verdict_log ORDER BY seq';
      for (const row of database.each(sql)) yield rowOf(row);
    },
    *checkpoints() {
      for (const { size, note } of database.each(
        'SELECT size, CAST(note AS BLOB) AS note FROM verdict_checkpoint ORDER BY size',
      ))
        yield { size: Number(size), note: textOf(note) ?? '' };
    },
    text: (kind, id) => textOf(database.get(tables[kind], [id])?.['text'] ?? null),
    *verdictIds() {
      for (const { id } of database.each('SELECT id FROM verdict_text')) yield String(id);
    },
    damage: () =>
      [...database.each('PRAGMA integrity_check(20)')]
        .map((row) => String(Object.values(row)[0]))
        .filter((line) => line !== 'ok'),
    close: database.close,
  };
}

function rowOf(row: SqlRow): LogRow | UnreadableRow {
  const seq = Number(row['seq']);
  const [entry, evidence, hash] = [textOf(row['entry']), textOf(row['evidence']), textOf(row['hash'])];
  if (entry === undefined || evidence === undefined || hash === undefined)
    return { seq, problem: 'its bytes are not text' };
  return { seq, entry, evidence, hash };
}

/** Returns bytes as text, but only when they are exactly the UTF-8 bytes of that text. */
function textOf(bytes: SqlValue | undefined): string | undefined {
  if (!(bytes instanceof Uint8Array)) return undefined;
  return attempt(() => new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
}
