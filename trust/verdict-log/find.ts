import { PortcullisError } from '../../base/errors/index.ts';
import type { LogRow } from './chain.ts';
import { parseEntry } from './entry.ts';
import type { VerdictEntry } from './entry.ts';
import type { LogSource } from './source.ts';

/** Each part that is given must match. */
export interface VerdictFilter {
  readonly seq?: number;
  /** The start of a verdict's id, with or without `sha256:`. */
  readonly id?: string;
  readonly outcome?: string;
  readonly namespace?: string;
  /** A part of the reference or of the digest. */
  readonly image?: string;
  /** ISO 8601, inclusive. */
  readonly since?: string;
}

/** A verdict with its position in the log. */
export interface LoggedVerdict {
  readonly row: LogRow;
  readonly entry: VerdictEntry;
}

/** Returns rows of verdicts, newest first. Skips rows that cannot be read: `verifyLog` reports them. */
export function findVerdicts(
  source: LogSource,
  filter: VerdictFilter,
  limit = Infinity,
): readonly LoggedVerdict[] {
  const found: LoggedVerdict[] = [];
  for (const logged of eachVerdict(source, filter)) {
    found.push(logged);
    // Memory stays bounded by the requested number.
    if (found.length > 2 * limit) found.splice(0, found.length - limit);
  }
  return found.reverse().slice(0, limit);
}

/**
 * Yields rows of verdicts, oldest first, one at a time: a log may have millions. Skips rows that cannot be
 * read.
 */
export function* eachVerdict(source: LogSource, filter: VerdictFilter = {}): Generator<LoggedVerdict> {
  for (const row of source.rows()) {
    if ('problem' in row) continue;
    const entry = parseEntry(row.entry);
    if ('problem' in entry || entry.kind !== 'verdict' || !holds(filter, row.seq, entry)) continue;
    yield { row, entry };
  }
}

/** Returns the last row whose texts the retention may have dropped, as the log says; 0 if none. */
export function droppedThrough(source: LogSource): number {
  let through = 0;
  for (const row of source.rows()) {
    if ('problem' in row) continue;
    const entry = parseEntry(row.entry);
    if ('problem' in entry || entry.kind !== 'retention' || entry.through >= row.seq) continue;
    through = Math.max(through, entry.through);
  }
  return through;
}

/**
 * Finds the latest row that `wanted` names: the number of a row, or an id or the start of one.
 * @throws PortcullisError `TRUST_VERDICT_UNKNOWN`, `TRUST_VERDICT_AMBIGUOUS`
 */
export function findVerdictRow(source: LogSource, wanted: string): LoggedVerdict {
  const seq = /^[0-9]{1,10}$/.test(wanted) ? Number(wanted) : undefined;
  const bySeq = seq === undefined ? [] : findVerdicts(source, { seq }, 1);
  const hex = /^(sha256:)?[0-9a-f]{4,64}$/.test(wanted);
  const found = bySeq.length > 0 || !hex ? bySeq : findVerdicts(source, { id: wanted });
  const [latest] = found;
  const problem = { kind: 'not-found', attempted: 'find verdict', on: wanted } as const;
  if (latest === undefined) {
    const why = 'no row with this number is a verdict, and no verdict has an id that starts with this text';
    throw new PortcullisError({
      ...problem,
      code: 'TRUST_VERDICT_UNKNOWN',
      why,
      fix: 'list the verdicts: portcullis verdicts ls',
    });
  }
  const ids = new Set(found.map(({ entry }) => entry.verdict));
  if (ids.size > 1)
    throw new PortcullisError({
      ...problem,
      code: 'TRUST_VERDICT_AMBIGUOUS',
      why: `${ids.size} verdicts have ids that start with this text`,
      fix: 'give more characters of the id',
    });
  return latest;
}

function holds(filter: VerdictFilter, seq: number, entry: VerdictEntry): boolean {
  const { id, image, since } = filter;
  return (
    (filter.seq === undefined || filter.seq === seq) &&
    (id === undefined || entry.verdict.startsWith(id.startsWith('sha256:') ? id : `sha256:${id}`)) &&
    (filter.outcome === undefined || filter.outcome === entry.outcome) &&
    (filter.namespace === undefined || filter.namespace === entry.namespace) &&
    (image === undefined || entry.reference.includes(image) || entry.digest.includes(image)) &&
    (since === undefined || entry.time >= since)
  );
}
