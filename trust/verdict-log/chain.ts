import { createHash } from 'node:crypto';

/** The hash before the first row. */
export const genesis = '0'.repeat(64);

/**
 * A row of the log as stored. `evidence` is the sha256 of the stored dossier's bytes when the row was made;
 * empty when the row has no dossier.
 */
export interface LogRow {
  readonly seq: number;
  readonly entry: string;
  readonly evidence: string;
  readonly hash: string;
}

/**
 * Returns the hash of a row, hex: sha256 over the lines seq, hash of the previous row, evidence and entry,
 * joined by LF without a final LF. The first three contain no LF, so different rows have different texts.
 * `append.ts` has the same expression in SQL.
 */
export function rowHash(previous: string, row: Omit<LogRow, 'hash'>): string {
  return createHash('sha256').update(`${row.seq}\n${previous}\n${row.evidence}\n${row.entry}`).digest('hex');
}
