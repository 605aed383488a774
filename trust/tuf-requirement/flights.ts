import { createHmac, randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Credentials } from '../../base/distribution/index.ts';
import type { TufUpdate } from '../tuf-client/update.ts';
import type { RepositoryStore } from './repository-store.ts';
import type { ImageRepository } from './repository.ts';
import type { TufRequirement } from '../requirements/tuf.ts';

/** The refreshes of repositories that are in progress or just ended, so that callers share them. */
export interface Flights {
  /** Returns the refresh that answers the question, and begins one if there is none. */
  flightOf(question: Question): Flight;
}

/** One reference under one requirement, with the caller's credentials. */
export interface Question {
  readonly requirement: TufRequirement;
  readonly repository: ImageRepository;
  readonly registry: string;
  readonly credentials?: Credentials;
  readonly askedAt: number;
}

/** One refresh, and the searches over its result. */
export interface Refreshed {
  readonly store: RepositoryStore;
  readonly update: TufUpdate;
  readonly checkedAt: string;
}

export interface Flight {
  /** Identifies the credentials: the answer of a service to one caller is not valid for another. */
  readonly by: string;
  readonly begun: number;
  readonly refreshed: Promise<Refreshed>;
  /** Searches load roles into one set, so they run one after another. */
  tail: Promise<unknown>;
}

/** Returns the milliseconds of a clock that all threads share and that is never set. */
export const monotonicMs = (): number => Number(process.hrtime.bigint() / 1_000_000n);

/** The number of repositories whose parsed metadata stays in memory. */
const openRepositories = 32;

/** @param sharedMs milliseconds for which one refresh serves all callers */
export function createFlights(
  refresh: (question: Question) => Promise<Refreshed>,
  sharedMs: number,
): Flights {
  const flights = new LRUCache<string, Flight>({ max: openRepositories });
  const salt = randomBytes(32);
  return {
    flightOf(question) {
      const { key } = question.repository;
      const by = createHmac('sha256', salt)
        .update(JSON.stringify(question.credentials ?? null))
        .digest('base64');
      const known = flights.get(key);
      if (known !== undefined && known.by === by && question.askedAt - known.begun < sharedMs) return known;
      // One refresh after the other: an older refresh must not overwrite the timestamp of a newer one.
      const before = known?.refreshed.then(
        () => undefined,
        () => undefined,
      );
      const refreshed = before === undefined ? refresh(question) : before.then(() => refresh(question));
      const flight: Flight = { by, begun: monotonicMs(), refreshed, tail: Promise.resolve() };
      flights.set(key, flight);
      // Callers receive the error below; the next caller tries a failed refresh again.
      flight.refreshed.catch(() => {
        if (flights.get(key) === flight) flights.delete(key);
      });
      return flight;
    },
  };
}
