import { createHmac, randomBytes } from 'node:crypto';
import type { Credentials } from '../../base/distribution/index.ts';

/**
 * A negative cache: registries are not asked again and again about an image without signatures while its pods
 * are retried. Only an answer "not found" counts, never a failure, and only the second such answer in a row:
 * a signature that is added right after a refusal is seen at once. A cached absence can admit nothing, and
 * delays an admission by at most {@link longestMs}.
 */
export interface NegativeCache {
  /** Returns the negative cache for one set of credentials, because one user may see what another may not. */
  of(credentials: Credentials | undefined): KnownAbsent;
}

/** The negative cache for callers with the same credentials. */
export interface KnownAbsent {
  /** Whether the question is answered from the cache now. */
  knows(question: string): boolean;
  /** Records that the answer was "not found". */
  note(question: string): void;
  /** Records that something was found. */
  forget(question: string): void;
}

/** A second absence in a row is cached for this long. Each further absence doubles the time. */
const firstMs = 2_000;
/** The longest time for which a new signature may be missed. */
const longestMs = 30_000;
/** Answers further apart than this do not count as in a row. */
const rowMs = 60_000;
const maximumEntries = 4096;

interface Entry {
  readonly times: number;
  readonly seen: number;
  readonly until: number;
}

/**
 * Creates the negative cache for registry answers, for a process that gathers evidence often.
 * @param clock milliseconds, never set back
 */
export function createNegativeCache(clock: () => number = () => performance.now()): NegativeCache {
  const salt = randomBytes(32);
  const entries = new Map<string, Entry>();
  return {
    of(credentials) {
      const scope = createHmac('sha256', salt)
        .update(JSON.stringify(credentials ?? null))
        .digest('base64');
      const keyOf = (question: string): string => `${scope} ${question}`;
      return {
        knows: (question) => (entries.get(keyOf(question))?.until ?? 0) > clock(),
        note(question) {
          const key = keyOf(question);
          const last = entries.get(key);
          const now = clock();
          const times = last !== undefined && now - last.seen < rowMs ? last.times + 1 : 1;
          const believed = times === 1 ? 0 : Math.min(longestMs, firstMs * 2 ** (times - 2));
          entries.delete(key);
          // The entry that was recorded longest ago is removed first.
          const [oldest] = entries.size >= maximumEntries ? entries.keys() : [];
          if (oldest !== undefined) entries.delete(oldest);
          entries.set(key, { times, seen: now, until: now + believed });
        },
        forget: (question) => void entries.delete(keyOf(question)),
      };
    },
  };
}
