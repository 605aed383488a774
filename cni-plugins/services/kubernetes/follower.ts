import { isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import { giveMemoryBack } from '../model/memory.ts';
import type { Collection, Follower } from '../../../base/kubernetes/index.ts';
import type { Delivery } from './deliver.ts';

export interface FollowerDeps {
  readonly figures: { events: number; lists: number; failures: number };
  /** Why a collection is not watched, by its name. A collection that is watched has no entry. */
  readonly away: Map<string, string>;
  readonly log: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
  };
  readonly delivery: Pick<Delivery, 'poke'>;
  /** Called after a failed attempt. */
  readonly missed?: () => void;
}

/** Passes the events of one collection on, counts them, and logs when it is not watched and watched again. */
export function createFollower(
  name: string,
  collection: Collection,
  { figures, away, log, delivery, missed }: FollowerDeps,
): Follower {
  const reached = (): void => {
    if (away.delete(name)) log.info({ watched: name }, 'the API server is watched again');
  };
  return {
    begin: collection.begin,
    listed: collection.listed,
    paged: giveMemoryBack,
    complete() {
      figures.lists++;
      collection.complete();
      delivery.poke();
    },
    reached,
    changed(object) {
      figures.events++;
      collection.changed(object);
      delivery.poke();
    },
    removed(object) {
      figures.events++;
      collection.removed(object);
      delivery.poke();
    },
    failed(thrown, listing) {
      figures.failures++;
      const why = reasonOf(thrown);
      const reported = isPortcullisError(thrown)
        ? { code: thrown.code, on: thrown.failure.on, fix: thrown.failure.fix }
        : {};
      // Logs each reason once, however often it is retried.
      if (away.get(name) !== why)
        log.warn({ watched: name, why, ...reported, listing }, 'the API server is not watched; retrying');
      away.set(name, why);
      missed?.();
    },
  };
}
