/**
 * The table of versions without a chain. Released steps of a schema never change: databases that have applied
 * them do not apply them again.
 */
const unchained = `
CREATE TABLE verdict_log (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL,
  outcome TEXT NOT NULL CHECK (outcome IN ('admit', 'deny', 'undecided')),
  reference TEXT NOT NULL,
  digest TEXT NOT NULL,
  namespace TEXT NOT NULL,
  decided_at TEXT NOT NULL,
  json TEXT NOT NULL
) STRICT;
CREATE INDEX verdict_log_id ON verdict_log (id);
CREATE TRIGGER verdict_log_no_update BEFORE UPDATE ON verdict_log BEGIN SELECT RAISE(ABORT, 'the verdict log is append-only'); END;
CREATE TRIGGER verdict_log_no_delete BEFORE DELETE ON verdict_log BEGIN SELECT RAISE(ABORT, 'the verdict log is append-only'); END;
`;

/**
 * A row holds its entry as canonical JSON. The columns for searches are generated from that text, so that
 * they cannot differ from it. Rows and checkpoints are only ever added: the triggers prevent mistakes of this
 * program, and the chain reveals changes by others. Texts of verdicts, dossiers and policies are stored once
 * each under their digests. Retention may drop them; the chain continues without them.
 */
const chained = `
ALTER TABLE verdict_log RENAME TO verdict_log_unchained;
DROP TRIGGER verdict_log_no_update;
DROP TRIGGER verdict_log_no_delete;
DROP INDEX verdict_log_id;
CREATE TABLE IF NOT EXISTS dossier (id TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT;
CREATE TABLE verdict_text (id TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT;
CREATE TABLE policy_text (digest TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT;
CREATE TABLE verdict_log (
  seq INTEGER PRIMARY KEY,
  entry TEXT NOT NULL,
  evidence TEXT NOT NULL,
  hash TEXT NOT NULL,
  kind TEXT GENERATED ALWAYS AS (entry ->> '$.kind') VIRTUAL,
  id TEXT GENERATED ALWAYS AS (entry ->> '$.verdict') VIRTUAL,
  outcome TEXT GENERATED ALWAYS AS (entry ->> '$.outcome') VIRTUAL,
  reference TEXT GENERATED ALWAYS AS (entry ->> '$.reference') VIRTUAL,
  namespace TEXT GENERATED ALWAYS AS (entry ->> '$.namespace') VIRTUAL,
  dossier TEXT GENERATED ALWAYS AS (entry ->> '$.dossier') VIRTUAL,
  policy TEXT GENERATED ALWAYS AS (entry ->> '$.policy') VIRTUAL,
  time TEXT GENERATED ALWAYS AS (entry ->> '$.time') VIRTUAL
) STRICT;
CREATE INDEX verdict_log_id ON verdict_log (id);
CREATE TABLE verdict_checkpoint (size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT;
CREATE TRIGGER verdict_log_no_update BEFORE UPDATE ON verdict_log BEGIN SELECT RAISE(ABORT, 'the verdict log is append-only'); END;
CREATE TRIGGER verdict_log_no_delete BEFORE DELETE ON verdict_log BEGIN SELECT RAISE(ABORT, 'the verdict log is append-only'); END;
CREATE TRIGGER verdict_checkpoint_no_update BEFORE UPDATE ON verdict_checkpoint BEGIN SELECT RAISE(ABORT, 'checkpoints are append-only'); END;
CREATE TRIGGER verdict_checkpoint_no_delete BEFORE DELETE ON verdict_checkpoint BEGIN SELECT RAISE(ABORT, 'checkpoints are append-only'); END;
`;

/**
 * Parts that many dossiers share, by the digest of the uncompressed bytes: base64 of the compressed bytes.
 */
const parts = `CREATE TABLE evidence_part (digest TEXT PRIMARY KEY, bytes TEXT NOT NULL) STRICT;`;

/**
 * The tables of the log, as steps in the schema of the database that records admissions. Other steps may come
 * after the first one.
 */
export const verdictLogMigrations = [unchained, chained, parts] as const;
