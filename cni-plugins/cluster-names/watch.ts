import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { createApiClient, follow, readApiAccess, usualTiming } from '../../base/kubernetes/index.ts';
import type { ApiPlace, FollowTiming, Follower, ListedCollection } from '../../base/kubernetes/index.ts';
import { giveMemoryBack } from '../services/model/memory.ts';
import { createClusterNames } from './table.ts';
import type { ClusterNames } from './table.ts';

export interface ClusterNamesOptions {
  /** Read again for each request, with the files that it names. */
  readonly place: ApiPlace;
  readonly log: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
  };
  readonly timing?: Partial<FollowTiming>;
}

export interface FollowedNames {
  readonly names: ClusterNames;
  /** Undefined: both collections are watched. Otherwise the reason why one is not. */
  away(): string | undefined;
  close(): Promise<void>;
}

/** Other than for balancing, headless services and those of another proxy have names. */
const followed = {
  services: '/api/v1/services',
  endpointslices: '/apis/discovery.k8s.io/v1/endpointslices',
} as const;

/** Follows the Services and EndpointSlices of a cluster for their names. Never ends by itself. */
export function followClusterNames({ place, log, timing }: ClusterNamesOptions): FollowedNames {
  const names = createClusterNames();
  const away = new Map<string, string>();
  const client = createApiClient(() => readApiAccess(place), {
    userAgent: 'portcullis',
    rights: 'list and watch services and endpointslices.discovery.k8s.io',
    meanwhile: 'cluster names are answered as they were last known',
  });
  const followerOf = (name: string, collection: ListedCollection): Follower => ({
    begin: collection.begin,
    listed: collection.listed,
    paged: giveMemoryBack,
    complete() {
      const wasComplete = names.complete();
      collection.complete();
      if (!wasComplete && names.complete()) log.info(names.size(), 'cluster names are answered');
    },
    reached() {
      if (away.delete(name)) log.info({ watched: name }, 'the API server is watched again');
    },
    changed: collection.changed,
    removed: collection.removed,
    failed(thrown, listing) {
      const why = reasonOf(thrown);
      const coded = isPortcullisError(thrown)
        ? { code: thrown.code, on: thrown.failure.on, fix: thrown.failure.fix }
        : {};
      // Logs each reason once, however often it is tried again.
      if (away.get(name) !== why)
        log.warn(
          { watched: name, why, ...coded, listing },
          'the API server is not watched for cluster names; retrying',
        );
      away.set(name, why);
    },
  });
  const ended = new AbortController();
  const collections = { services: names.services, endpointslices: names.slices };
  const following = (['services', 'endpointslices'] as const).map((name) =>
    follow(client, { path: followed[name], query: {} }, followerOf(name, collections[name]), ended.signal, {
      ...usualTiming,
      ...timing,
    }),
  );
  return {
    names,
    away: () => [...away.values()][0],
    async close() {
      ended.abort();
      await Promise.all(following);
      client.close();
    },
  };
}
