import { createHmac, randomBytes } from 'node:crypto';
import type { Credentials } from '../../base/distribution/index.ts';

/**
 * What registries have said is not there, for a while: an image that nobody has signed is not asked about again and again while its
 * pods are retried. Only an answer "there is nothing" counts, never a failure; and only the second such answer in a row: an image
 * that is signed right after it was refused is seen at once. What is known absent can admit nothing, and delays an admit by at most
 * {@link longestMs}.
 */
export interface Absences {
  /** The part for one set of credentials: what one may not see, another may. */
  of(credentials: Credentials | undefined): KnownAbsent;
}

/** What registries have said is not there, to those with the same credentials. */
export interface KnownAbsent {
  /** Whether this question is not asked now. */
  knows(question: string): boolean;
  /** The answer was that there is nothing. */
  note(question: string): void;
  /** The answer was something. */
  forget(question: string): void;
}

/** An absence that was seen twice is believed for this long, then twice as long with each further answer. */
const firstMs = 2_000;
/** The longest time that a new signature may go unseen. */
const longestMs = 30_000;
/** Answers further apart than this are not in a row. */
const rowMs = 60_000;
const maximumEntries = 4096;

interface Entry {
  readonly times: number;
  readonly seen: number;
  readonly until: number;
}

/**
 * Makes the memory of what registries have said is not there, for whoever gathers often.
 * @param clock milliseconds, never set back
 */
export function createAbsences(clock: () => number = () => performance.now()): Absences {
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
          // The one that was not asked about for longest goes first.
          const [oldest] = entries.size >= maximumEntries ? entries.keys() : [];
          if (oldest !== undefined) entries.delete(oldest);
          entries.set(key, { times, seen: now, until: now + believed });
        },
        forget: (question) => void entries.delete(keyOf(question)),
      };
    },
  };
}
