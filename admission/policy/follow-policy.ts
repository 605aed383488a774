import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { createCollection, follow, statusOf, usualTiming } from '../../base/kubernetes/index.ts';
import type { ApiClient, FollowTiming, ListedCollection } from '../../base/kubernetes/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { Problem } from '../../base/schema/index.ts';
import { createSerialQueue } from '../../base/queues/index.ts';
import { profileSet } from '../../entitlements/index.ts';
import type { ProfileSet } from '../../entitlements/index.ts';
import type { TrustPolicy } from '../../trust/index.ts';
import { collectionPath, customResources } from '../custom-resources/definitions.ts';
import { documentOf, writeDocuments } from './documents.ts';
import type { ClusterDocument } from './documents.ts';
import type { LoadPolicySet, PolicyInForce } from './policy-in-force.ts';
import { saysTheSame, statusOfDocument } from './status.ts';
import type { DocumentStatus, LoadResult } from './status.ts';

/** A policy that follows the custom resources of a cluster. */
export interface FollowedPolicy extends PolicyInForce {
  close(): Promise<void>;
}

export interface FollowPolicyOptions {
  readonly client: ApiClient;
  readonly load: LoadPolicySet;
  /** A folder of this process: the documents are written there for the loader. */
  readonly folder: string;
  /** Folder with the files that policies refer to by relative paths. */
  readonly referred?: string;
  readonly log: Logger;
  readonly timing?: FollowTiming;
  /**
   * The delay before a status is written. All replicas write the same, so that only the first write is
   * needed. In ms. Default: 1 s.
   */
  readonly statusJitterMs?: number;
}

/** Changes within this time, such as the changes of one `kubectl apply`, cause one load. In ms. */
const quietMs = 200;
/** Files that policies refer to are read again at this interval, in ms. */
const againMs = 30_000;

/**
 * Follows the TrustPolicy and EntitlementProfile objects, and puts them in force together: if one is not
 * valid, the last valid policy stays. Without any TrustPolicy there is no policy. Writes the result into the
 * status of each object. Returns immediately; the first decision is made after both lists have arrived.
 */
export function followPolicy(options: FollowPolicyOptions): FollowedPolicy {
  const { client, log, timing = { ...usualTiming, longestWait: 10_000 } } = options;
  const documents = new Map<string, ClusterDocument>();
  const stop = new AbortController();
  const queue = createSerialQueue();
  const statuses = createSerialQueue();
  let found: { readonly all: readonly ClusterDocument[]; readonly result: LoadResult } | undefined;
  const writes = createStatusWriter(options, stop.signal, (file) => documents.get(file));
  let policy: TrustPolicy | undefined;
  let profiles: ProfileSet = profileSet([]);
  let problem: string | undefined = 'the policies of the cluster have not been read yet';
  let pending: NodeJS.Timeout | undefined;

  async function load(): Promise<void> {
    if (stop.signal.aborted || !collections.every((one) => one.came())) return;
    const all = [...documents.values()].sort((a, b) => (a.file < b.file ? -1 : 1));
    const result = await loadAll(all);
    found = { all, result };
    // A write that takes long must not delay the next policy.
    void statuses(writeFound).catch((error: unknown) =>
      log.warn({ problem: reasonOf(error) }, 'the statuses of the policies could not be written'),
    );
  }

  /** Writes the latest result only, however many loads there were meanwhile. */
  async function writeFound(): Promise<void> {
    if (found === undefined) return;
    const { all, result } = found;
    found = undefined;
    await writes.write(all, result);
  }

  async function loadAll(all: readonly ClusterDocument[]): Promise<LoadResult> {
    const none: LoadResult = { revision: undefined, problems: new Map(), failure: undefined };
    if (!all.some(({ kind }) => kind === 'TrustPolicy')) {
      policy = undefined;
      problem = 'the cluster has no TrustPolicy';
      return { ...none, failure: problem };
    }
    try {
      const paths = await writeDocuments(options.folder, all, options.referred);
      const set = await options.load({ paths });
      const changed = policy?.revision !== set.policy.revision;
      ({ policy, profiles } = set);
      problem = undefined;
      const { revision, rules } = set.policy;
      if (changed) log.info({ revision, rules: rules.length }, 'policy in force');
      return { ...none, revision };
    } catch (error) {
      const said = isPortcullisError(error) ? error.message : reasonOf(error);
      if (said !== problem)
        log.error(
          { problem: said, revision: policy?.revision ?? null },
          'the policy of the cluster is not valid',
        );
      problem = said;
      return { ...none, problems: problemsOf(error), failure: said };
    }
  }

  const schedule = (): void => {
    pending ??= setTimeout(() => {
      pending = undefined;
      void queue(load).catch((error: unknown) =>
        log.error({ problem: reasonOf(error) }, 'the policy of the cluster could not be put in force'),
      );
    }, quietMs);
  };
  const collections = customResources.map((resource): ListedCollection => {
    const prefix = `${resource.kind} `;
    const collection = createCollection<ClusterDocument>(
      (object) => documentOf(resource.kind, object),
      () =>
        [...documents.keys()].filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length)),
      (key, document) => {
        const known = documents.get(prefix + key);
        if (document === undefined) documents.delete(prefix + key);
        else documents.set(prefix + key, document);
        // A change of the status is not a change of the document.
        if (known?.text === document?.text && known?.uid === document?.uid) return;
        writes.forget();
        schedule();
      },
    );
    const follower = {
      ...collection,
      complete() {
        collection.complete();
        schedule();
      },
      paged: () => undefined,
      reached: () => undefined,
      failed: (error: unknown) =>
        log.warn(
          { problem: reasonOf(error) },
          'the policies of the cluster cannot be watched; the current policy stays in force',
        ),
    };
    void follow(client, { path: collectionPath(resource), query: {} }, follower, stop.signal, timing);
    return collection;
  });
  const again = setInterval(schedule, againMs);
  return {
    current: () => policy,
    profiles: () => profiles,
    problem: () => problem,
    async close() {
      stop.abort(new Error('the webhook ends'));
      clearInterval(again);
      clearTimeout(pending);
      await queue(() => Promise.resolve());
      await statuses(() => Promise.resolve());
    },
  };
}

/** Returns the problems of a policy that was not loaded, by file. */
function problemsOf(error: unknown): ReadonlyMap<string, readonly Problem[]> {
  const found = isPortcullisError(error) ? error.failure.details?.['problems'] : undefined;
  return Map.groupBy(Array.isArray(found) ? (found as Problem[]) : [], ({ position }) =>
    basename(position.file),
  );
}

/**
 * Writes statuses. Every replica computes the same status, so each writes only a status that the object does
 * not have yet, and the same status only once between changes of the documents: replicas of two versions that
 * disagree do not overwrite each other forever. No leader election is needed.
 */
function createStatusWriter(
  { client, log, statusJitterMs = 1000 }: FollowPolicyOptions,
  signal: AbortSignal,
  currentOf: (key: string) => ClusterDocument | undefined,
): {
  write(documents: readonly ClusterDocument[], result: LoadResult): Promise<void>;
  /** A document has changed: every status may be written again. */
  forget(): void;
} {
  const written = new Set<string>();
  const isWritten = (document: ClusterDocument, status: DocumentStatus): string | undefined => {
    const { conditions, ...rest } = status;
    const says = conditions.map(({ type, status: holds, message }) => [type, holds, message]);
    const key = JSON.stringify([document.uid, rest, says]);
    return written.has(key) ? undefined : key;
  };
  return {
    forget: () => written.clear(),
    async write(documents, result) {
      const now = new Date();
      const differs = documents.filter((one) => !saysTheSame(one, statusOfDocument(one, result, now)));
      if (differs.length === 0) return;
      await sleep(Math.random() * statusJitterMs, undefined, { signal }).catch(() => undefined);
      for (const { kind, name, generation } of differs) {
        const latest = currentOf(`${kind} /${name}`);
        // A newer document will be loaded soon, and gets its own status.
        if (signal.aborted || latest?.generation !== generation) continue;
        const status = statusOfDocument(latest, result, now);
        const key = isWritten(latest, status);
        if (key === undefined || saysTheSame(latest, status)) continue;
        written.add(key);
        await patch(latest, status).catch((error: unknown) => {
          // Another replica wrote the status first, or the object was deleted.
          if (statusOf(error) === 404) return;
          written.delete(key);
          if (statusOf(error) !== 409)
            log.warn(
              { object: `${kind} ${name}`, problem: reasonOf(error) },
              'a status could not be written',
            );
        });
      }
    },
  };

  async function patch({ kind, name, object }: ClusterDocument, status: DocumentStatus): Promise<void> {
    const resource = customResources.find((one) => one.kind === kind);
    if (resource === undefined) return;
    const { resourceVersion } = object['metadata'] as { readonly resourceVersion?: string };
    await client.send(
      {
        method: 'PATCH',
        path: `${collectionPath(resource)}/${name}/status`,
        body: { metadata: { resourceVersion }, status },
      },
      signal,
    );
  }
}
