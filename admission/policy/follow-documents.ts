import { reasonOf } from '../../base/errors/index.ts';
import { createCollection, expired, follow, statusOf, usualTiming } from '../../base/kubernetes/index.ts';
import type { ApiClient, Follower, FollowTiming, ListedCollection } from '../../base/kubernetes/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { createSerialQueue } from '../../base/queues/index.ts';
import { collectionPath, customResources } from '../custom-resources/definitions.ts';
import type { CustomResource } from '../custom-resources/definitions.ts';
import { documentOf } from './documents.ts';
import type { ClusterDocument } from './documents.ts';
import { createStatusWriter } from './status-writer.ts';
import type { LoadResult } from './status.ts';

export interface FollowDocumentsOptions {
  readonly client: ApiClient;
  /**
   * Loads all documents together, sorted by file. Called after a change, and every 30 s, because files that
   * the documents name may have changed. One call at a time. Resolves with undefined if the result says
   * nothing about the documents, such as after a failure of the disk: then no status is written.
   */
  readonly load: (documents: readonly ClusterDocument[]) => Promise<LoadResult | undefined>;
  /** Called when the collections are watched, and with the reason when they are not. */
  readonly onContact?: (trouble: string | undefined) => void;
  /** Whether the result is written into the status of each object. Default: true. */
  readonly writesStatus?: boolean;
  readonly log: Logger;
  readonly timing?: FollowTiming;
  /**
   * The longest delay before a status is written, in ms. Whoever follows the same objects writes the same
   * status, so that only the first write is needed. Default: 1 s.
   */
  readonly statusJitterMs?: number;
  /**
   * The same status of an object is not written again before this time, in ms, unless a document changes.
   * Default: an hour, because thousands of nodes may disagree.
   */
  readonly statusRepeatMs?: number;
}

/** Changes within this time, such as the changes of one `kubectl apply`, cause one load. In ms. */
const quietMs = 200;
/** Files that policies refer to are read again at this interval, in ms. */
const againMs = 30_000;

/**
 * Follows the TrustPolicy and EntitlementProfile objects of a cluster, and loads them together. Returns
 * immediately; the first load follows after both lists have arrived. A failure of the API server changes
 * nothing, and is logged when it begins and when it is over.
 */
export function followDocuments(options: FollowDocumentsOptions): { close(): Promise<void> } {
  const { client, load, log, writesStatus = true } = options;
  const timing = options.timing ?? { ...usualTiming, longestWait: 10_000 };
  const documents = new Map<string, ClusterDocument>();
  const stop = new AbortController();
  const queue = createSerialQueue();
  const statuses = createSerialQueue();
  let found: { readonly all: readonly ClusterDocument[]; readonly result: LoadResult } | undefined;
  const writes = createStatusWriter(options, stop.signal, (file) => documents.get(file));
  let pending: NodeJS.Timeout | undefined;

  async function loadAll(): Promise<void> {
    if (stop.signal.aborted || !collections.every((one) => one.came())) return;
    const all = [...documents.values()].sort((a, b) => (a.file < b.file ? -1 : 1));
    const result = await load(all);
    if (!writesStatus || result === undefined) return;
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

  const schedule = (): void => {
    pending ??= setTimeout(() => {
      pending = undefined;
      void queue(loadAll).catch((error: unknown) =>
        log.error({ problem: reasonOf(error) }, 'the policy of the cluster could not be put in force'),
      );
    }, quietMs);
  };
  const contact = createContact(options);
  const collections = customResources.map((resource): ListedCollection => {
    const collection = collectionOf(resource, documents, () => {
      writes.forget();
      schedule();
    });
    const follower: Follower = {
      ...collection,
      complete() {
        collection.complete();
        schedule();
      },
      paged: () => undefined,
      reached: () => contact.reached(resource),
      failed: (error) => contact.failed(resource, error),
    };
    void follow(client, { path: collectionPath(resource), query: {} }, follower, stop.signal, timing);
    return collection;
  });
  const again = setInterval(schedule, againMs);
  return {
    async close() {
      stop.abort(new Error('the policies are no longer followed'));
      clearInterval(again);
      clearTimeout(pending);
      await queue(() => Promise.resolve());
      await statuses(() => Promise.resolve());
    },
  };
}

/** Keeps the documents of one kind. @param changed called after a change of a text: not of a status */
function collectionOf(
  { kind }: CustomResource,
  documents: Map<string, ClusterDocument>,
  changed: () => void,
): ListedCollection {
  const prefix = `${kind} `;
  return createCollection<ClusterDocument>(
    (object) => documentOf(kind, object),
    () =>
      [...documents.keys()].filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length)),
    (key, document) => {
      const known = documents.get(prefix + key);
      if (document === undefined) documents.delete(prefix + key);
      else documents.set(prefix + key, document);
      if (known?.text !== document?.text || known?.uid !== document?.uid) changed();
    },
  );
}

/** Reports whether both collections are watched: each change once, however often an attempt is repeated. */
function createContact({ log, onContact }: FollowDocumentsOptions): {
  reached(resource: CustomResource): void;
  failed(resource: CustomResource, error: unknown): void;
} {
  const troubles = new Map<string, string>();
  let reported: string | undefined;
  const report = (): void => {
    const [trouble] = troubles.values();
    onContact?.(trouble);
    if (trouble === reported) return;
    reported = trouble;
    if (trouble === undefined) log.info({}, 'the policies of the cluster are watched again');
    else
      log.warn(
        { problem: trouble },
        'the policies of the cluster cannot be watched; the last valid policy stays in force, if there was one',
      );
  };
  return {
    reached({ plural }) {
      troubles.delete(plural);
      report();
    },
    failed({ plural }, error) {
      // Only the version was too old: the objects are listed at once, as after each restart of a server.
      if (statusOf(error) === expired) return;
      troubles.set(plural, `${plural}: ${reasonOf(error)}`);
      report();
    },
  };
}
