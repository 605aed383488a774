/**
 * The verdict log: for programs that write it (the daemon), collect it (the aggregator), or search, export,
 * replay and verify it (the command).
 */
export { findVerdict, verdictLogStatements } from './append.ts';
export { verdictLogMigrations } from './schema.ts';
export { genesis, rowHash } from './chain.ts';
export type { LogRow } from './chain.ts';
export { parseCheckpoint } from './checkpoint.ts';
export { parseEntry } from './entry.ts';
export { openVerdictLog } from './keeper.ts';
export type { VerdictLog } from './keeper.ts';
export { openDatabaseLog } from './database-source.ts';
export { exportHead } from './export-head.ts';
export { exportLog, readExport } from './export-file.ts';
export { droppedThrough, eachVerdict, findVerdictRow, findVerdicts } from './find.ts';
export type { LoggedVerdict, VerdictFilter } from './find.ts';
export { replayLogged } from './replay.ts';
export { noteSignedBy, parseNoteKey } from './signed-note.ts';
export type { NoteKey } from './signed-note.ts';
export type { LogSource } from './source.ts';
export { verifyLog } from './verify.ts';
export type { LogVerification } from './verify.ts';
