/** The table of versions that kept no chain. Steps of a schema stay as they are: databases that have taken them are not asked again. */
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
 * A row holds its entry as canonical
 * JSON; what is searched for is generated from that text, so that no column can say anything else. Rows and checkpoints are only ever added:
 * the triggers keep the program itself from mistakes, the chain shows everybody else's. Texts of verdicts, dossiers and policies are stored once
 * each under their digests and may be dropped by retention; the chain goes on without them.
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

/** What many dossiers share, by the digest of its unpacked bytes: base64 of them packed. */
const parts = `CREATE TABLE evidence_part (digest TEXT PRIMARY KEY, bytes TEXT NOT NULL) STRICT;`;

/** The log's tables, in steps of the schema of a database of whoever admits. The first may be followed by steps of others. */
export const verdictLogMigrations = [unchained, chained, parts] as const;
