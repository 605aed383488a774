import { PortcullisError } from '../../../base/errors/index.ts';
import type { EtcdClient, Listing, ListingBound } from './client.ts';
import type { WatchAnswer } from './messages.ts';

/** A change of a key. */
export interface Change {
  readonly key: string;
  /** Undefined when it was removed, by a deletion or the end of its lease. */
  readonly value: Buffer | undefined;
  /** Revisions of the write that created the key, and of this one. */
  readonly createRevision?: number;
  readonly modRevision?: number;
}

export interface Follower {
  /** Limits what is kept of a listing. */
  readonly bound?: ListingBound;
  /** Called with all existing keys, at the start and after changes were missed. */
  onListing(listing: Listing): void;
  /** Called in the order of revisions, with all changes of one revision together. */
  onChanges(changes: readonly Change[]): void;
  /** Called when the watch is established, so that all later changes will be received. */
  onHere(): void;
  /** Called repeatedly while etcd is unavailable. */
  onAway(thrown: unknown): void;
}

const shortestWaitMs = 200;
const longestWaitMs = 5000;
/**
 * How often etcd is asked for a sign of progress, and how many requests may go unanswered before its member
 * is left.
 */
const progressEveryMs = 5000;
const mostUnanswered = 2;

/**
 * Thrown when the revisions after ours are no longer kept, or etcd is another cluster: everything has to be
 * read again.
 */
class Lost extends Error {}

interface Seen {
  revision: number;
  cluster: number;
}

/**
 * Follows all keys that begin with `prefix`: reads them, then watches from the next revision on. A broken
 * watch continues where it ended. A watch whose revisions were compacted, or of a cluster that was restored,
 * begins again with a listing. A watch whose member gives no sign of progress, even if it answers pings,
 * continues at another member.
 * @returns a function that ends it
 */
export function followPrefix(client: EtcdClient, prefix: string, follower: Follower): () => void {
  let closed = false;
  const isClosed = (): boolean => closed;
  let endWatch = (): void => undefined;
  let wake = (): void => undefined;
  let seen: Seen | undefined;

  /**
   * Returns whether this is another cluster. A restored cluster counts from an older revision: a watch from a
   * later revision would report nothing until the cluster reaches it. A member may also only lag behind.
   */
  const isOther = async (from: Seen, { clusterId, revision }: WatchAnswer['header']): Promise<boolean> => {
    if (clusterId === from.cluster && revision >= from.revision) return false;
    const agreed = await client.agreed(prefix);
    return agreed.cluster !== from.cluster || agreed.revision < from.revision;
  };

  const watch = async (from: Seen): Promise<void> => {
    const stream = client.watch(prefix, from.revision + 1);
    endWatch = stream.close;
    let unanswered = 0;
    let isCreated = false;
    let open: WatchAnswer['events'] = [];
    const asking = setInterval(() => {
      unanswered += 1;
      if (unanswered > mostUnanswered)
        stream.abandon(`it sent no progress notification for ${(progressEveryMs * mostUnanswered) / 1000} s`);
      else stream.write({ progress: {} });
    }, progressEveryMs);
    try {
      for await (const {
        header,
        watchId,
        created,
        canceled,
        compactRevision,
        cancelReason,
        fragment,
        events,
      } of stream.answers) {
        unanswered = 0;
        if (compactRevision > 0) throw new Lost();
        if (canceled) throw cancelled(prefix, cancelReason);
        if (created && !isCreated) {
          if (await isOther(from, header)) throw new Lost();
          if (isClosed()) return;
          isCreated = true;
          follower.onHere();
        }
        const [whole, rest] = splitAtRevision([...open, ...events], fragment);
        open = rest;
        const last = whole.at(-1);
        if (last !== undefined) {
          follower.onChanges(
            whole.map(({ type, kv: { key, value, createRevision, modRevision } }) => ({
              key: key.toString(),
              value: type === 0 ? value : undefined,
              createRevision,
              modRevision,
            })),
          );
          // The header may be ahead of the events sent so far.
          from.revision = last.kv.modRevision;
          // An answer to our own request may be ahead of events that were not sent yet (etcd before 3.4.25
          // and 3.5.8): only what the watch sends by itself counts.
        } else if (!created && !fragment && events.length === 0 && watchId >= 0)
          from.revision = Math.max(from.revision, header.revision);
      }
      if (!isClosed()) throw cancelled(prefix, 'it did not answer the watch');
    } finally {
      clearInterval(asking);
      stream.close();
    }
  };

  const pause = (wait: number): Promise<void> =>
    new Promise((resolve) => {
      wake = resolve;
      // Hosts that lost etcd at the same time must not reconnect at the same time.
      setTimeout(resolve, wait * (0.5 + Math.random() / 2)).unref();
    });

  const run = async (): Promise<void> => {
    let wait = shortestWaitMs;
    while (!isClosed()) {
      const began = performance.now();
      try {
        if (seen === undefined) {
          const listing = await client.list(prefix, { bound: follower.bound });
          if (isClosed()) return;
          follower.onListing(listing);
          seen = { revision: listing.revision, cluster: listing.cluster };
        }
        await watch(seen);
      } catch (thrown) {
        if (isClosed()) return;
        if (performance.now() - began > longestWaitMs) wait = shortestWaitMs;
        if (thrown instanceof Lost) seen = undefined;
        else follower.onAway(thrown);
        await pause(wait);
        wait = Math.min(wait * 2, longestWaitMs);
      }
    }
  };
  void run();

  return () => {
    closed = true;
    endWatch();
    wake();
  };
}

/** Splits events into those of complete revisions, and those of a last revision of which more may follow. */
function splitAtRevision(
  events: WatchAnswer['events'],
  moreFollows: boolean,
): [WatchAnswer['events'], WatchAnswer['events']] {
  if (!moreFollows) return [events, []];
  const last = events.at(-1)?.kv.modRevision;
  const end = events.findIndex(({ kv }) => kv.modRevision === last);
  return end < 0 ? [[], []] : [events.slice(0, end), events.slice(end)];
}

function cancelled(prefix: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'OVERLAY_ETCD_UNREACHABLE',
    kind: 'unavailable',
    attempted: 'follow the overlay in etcd',
    on: prefix,
    why: why === '' ? 'etcd ended the watch' : why,
    fix: 'see the log of etcd; meanwhile pods continue to run',
  });
}
