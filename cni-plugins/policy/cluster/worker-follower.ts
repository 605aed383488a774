import { isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import { isServiceAddress, readApiAccess } from '../../../base/kubernetes/index.ts';
import type { ApiAccess, ApiPlace, Follower, ListedCollection } from '../../../base/kubernetes/index.ts';
import { giveMemoryBack } from '../../services/model/memory.ts';
import type { Versioned } from './cluster-table.ts';

/** Warns once about the address of a service. */
export function accessReader(
  place: ApiPlace,
  log: { warn(fields: object, message: string): void },
): () => Promise<ApiAccess> {
  let isWarned = false;
  return async () => {
    const access = await readApiAccess(place);
    if (!isWarned && isServiceAddress(access))
      log.warn(
        { server: access.server.host },
        'the API server is reached through the address of a Service: set network.kubernetes.servers to the addresses of the servers themselves',
      );
    isWarned = true;
    return access;
  };
}

export interface FollowerDeps {
  readonly name: Versioned;
  readonly collection: ListedCollection;
  readonly figures: { events: number; lists: number; failures: number };
  /** Why collections are not watched, by their names. */
  readonly away: Map<string, { readonly why: string; readonly fix?: string }>;
  readonly log: Readonly<Record<'info' | 'warn', (fields: object, message: string) => void>>;
  /** Something came. */
  readonly poke: () => void;
  readonly reportFigures: () => void;
  readonly reached: (name: Versioned, version: string) => void;
}

/** Passes a collection on to the table, counts, and logs when it is not watched and when it is again. */
export function createFollower({
  name,
  collection,
  figures,
  away,
  log,
  poke,
  reportFigures,
  reached,
}: FollowerDeps): Follower {
  return {
    begin: () => collection.begin(),
    listed: collection.listed,
    paged: giveMemoryBack,
    complete() {
      figures.lists += 1;
      collection.complete();
      poke();
    },
    reached() {
      if (!away.delete(name)) return;
      log.info({ watched: name }, 'the API server is watched again');
      reportFigures();
    },
    changed(object) {
      figures.events += 1;
      collection.changed(object);
      poke();
    },
    removed(object) {
      figures.events += 1;
      collection.removed(object);
      poke();
    },
    version: (version) => reached(name, version),
    failed(thrown, listing) {
      figures.failures += 1;
      const why = reasonOf(thrown);
      const coded = isPortcullisError(thrown)
        ? { code: thrown.code, on: thrown.failure.on, fix: thrown.failure.fix }
        : { fix: undefined };
      // Logs each reason once, however often it is tried again.
      if (away.get(name)?.why !== why)
        log.warn(
          { watched: name, why, ...coded, listing },
          'the API server is not watched; NetworkPolicies stay as they are; retrying',
        );
      away.set(name, { why, ...(coded.fix !== undefined && { fix: coded.fix }) });
    },
  };
}
