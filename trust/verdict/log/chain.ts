import { createHash } from 'node:crypto';

/** What stands before the first row. */
export const genesis = '0'.repeat(64);

/** A row of the log as stored. `evidence` is the sha256 of the stored dossier's bytes when the row was made; empty when it has none. */
export interface LogRow {
  readonly seq: number;
  readonly entry: string;
  readonly evidence: string;
  readonly hash: string;
}

/**
 * The hash of a row, hex: sha256 over the lines seq, hash of the row before, evidence, entry, joined by LF without one at the end.
 * The first three hold no LF, so no two rows have the same text. The same expression stands as SQL in `append.ts`.
 */
export function rowHash(previous: string, row: Omit<LogRow, 'hash'>): string {
  return createHash('sha256').update(`${row.seq}\n${previous}\n${row.evidence}\n${row.entry}`).digest('hex');
}
