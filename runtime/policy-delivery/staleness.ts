import type { PolicyLimit } from '../policy/policy-watch.ts';

/** The rule that applies after the metadata of the releases have expired. */
export interface OnStale {
  readonly onStale: 'deny' | 'keep' | 'previouslyAdmitted';
  /** Seconds, for `previouslyAdmitted`. */
  readonly previouslyAdmittedFor: number;
}

export interface Staleness {
  readonly isStale: boolean;
  readonly limit: PolicyLimit | undefined;
  /** When this may change, in ms since 1970; undefined: only by an answer of the source. */
  readonly changesAt: number | undefined;
}

/**
 * Returns what applies at a time. Pure.
 * @param expires ISO 8601; undefined: no metadata were ever accepted, so that nothing can be stale
 */
export function stalenessAt(
  { onStale, previouslyAdmittedFor }: OnStale,
  expires: string | undefined,
  now: Date,
): Staleness {
  if (expires === undefined) return { isStale: false, limit: undefined, changesAt: undefined };
  const end = Date.parse(expires);
  // A record that cannot be read has expired.
  if (end > now.getTime()) return { isStale: false, limit: undefined, changesAt: end };
  if (onStale === 'keep') return { isStale: true, limit: undefined, changesAt: undefined };
  const why = `the policy release is stale: its metadata expired at ${expires} (onStale: ${onStale})`;
  const later = end + previouslyAdmittedFor * 1000;
  if (onStale === 'previouslyAdmitted' && now.getTime() < later)
    return { isStale: true, limit: { refuses: 'new', why }, changesAt: later };
  return { isStale: true, limit: { refuses: 'everything', why }, changesAt: undefined };
}
