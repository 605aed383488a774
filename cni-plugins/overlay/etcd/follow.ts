import { PortcullisError } from '../../../base/errors/index.ts';
import type { EtcdClient, Listing } from './client.ts';

/** What became of a key. */
export interface Change {
  readonly key: string;
  /** Undefined: it is gone, by a deletion or the end of its lease. */
  readonly value: Buffer | undefined;
}

export interface Follower {
  /** All there is; also after changes were missed. */
  onListing(listing: Listing): void;
  /** In the order of their revisions; those of one revision together. */
  onChanges(changes: readonly Change[]): void;
  /** All that follows will be heard. */
  onHere(): void;
  /** It is heard of again and again for as long as it lasts. */
  onAway(thrown: unknown): void;
}

const shortestWaitMs = 200;
const longestWaitMs = 5000;
/** etcd answers a watch at once; one that does not is behind something that swallows it. */
const createdWithinMs = 10_000;

/** The revisions after ours are no longer kept, or etcd is another one: all is to be read again. */
class Lost extends Error {}

/**
 * Follows all keys that begin with `prefix`: reads them, then watches from the next revision on. A broken watch goes on where it ended; one whose
 * revisions were compacted, or of a cluster that was restored, begins again with a listing.
 * @returns ends it
 */
export function followPrefix(client: EtcdClient, prefix: string, follower: Follower): () => void {
  let closed = false;
  const isClosed = (): boolean => closed;
  let endWatch = (): void => undefined;
  let wake = (): void => undefined;
  let seen: { revision: number; cluster: number } | undefined;

  const watch = async (from: { revision: number; cluster: number }): Promise<void> => {
    const stream = client.watch(prefix, from.revision + 1);
    endWatch = stream.close;
    let late: NodeJS.Timeout | undefined = setTimeout(stream.close, createdWithinMs);
    try {
      for await (const { header, created, canceled, compactRevision, cancelReason, events } of stream.answers) {
        clearTimeout(late);
        late = undefined;
        if (compactRevision > 0) throw new Lost();
        if (canceled) throw cancelled(prefix, cancelReason);
        // A restored cluster counts from an older revision: a watch from a later one would hear nothing until it got there.
        if (created && (header.clusterId !== from.cluster || header.revision < from.revision)) throw new Lost();
        if (created) follower.onHere();
        const last = events.at(-1);
        if (last !== undefined) {
          follower.onChanges(events.map(({ type, kv }) => ({ key: kv.key, value: type === 0 ? kv.value : undefined })));
          // The header may be ahead of what was sent so far.
          from.revision = last.kv.modRevision;
        } else if (!created) from.revision = header.revision;
      }
      if (!isClosed()) throw cancelled(prefix, 'it did not answer the watch');
    } finally {
      clearTimeout(late);
      stream.close();
    }
  };

  const run = async (): Promise<void> => {
    let wait = shortestWaitMs;
    while (!isClosed()) {
      const began = performance.now();
      try {
        if (seen === undefined) {
          const listing = await client.list(prefix);
          if (isClosed()) return;
          follower.onListing(listing);
          seen = { revision: listing.revision, cluster: listing.cluster };
        }
        await watch(seen);
      } catch (thrown) {
        if (isClosed()) return;
        if (thrown instanceof Lost) {
          seen = undefined;
          continue;
        }
        follower.onAway(thrown);
        if (performance.now() - began > longestWaitMs) wait = shortestWaitMs;
        // Hosts that lost etcd together must not come back together.
        await new Promise<void>((resolve) => {
          wake = resolve;
          setTimeout(resolve, wait * (0.5 + Math.random() / 2)).unref();
        });
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

function cancelled(prefix: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'OVERLAY_ETCD_UNREACHABLE',
    kind: 'unavailable',
    attempted: 'follow the overlay in etcd',
    on: prefix,
    why: why === '' ? 'etcd ended the watch' : why,
    fix: 'see the log of etcd; pods go on meanwhile',
  });
}
