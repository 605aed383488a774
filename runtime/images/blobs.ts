import { rm } from 'node:fs/promises';
import { wrapImageError } from './failures.ts';
import { hexOf } from './folders.ts';
import type { StoreFolders } from './folders.ts';
import type { BlobDescriptor } from './manifest/json.ts';
import { orAborted } from './serial.ts';
import type { Move } from './unpack/protocol.ts';

/** Fetches a blob into a file, from its first byte; fails when digest or size differ (base/distribution checks both as it streams). */
export type BlobSource = (path: string, signal: AbortSignal) => Promise<void>;

/** One pull's hold on one blob: while it lasts, the file stays. */
export interface BlobClaim {
  readonly digest: string;
  readonly size: number;
  /** Where it can be read as long as the claim lasts. */
  readonly path: string;
  /** The move out of ingest that an admitted pull needs; undefined when it lies in its place. */
  pendingMove(): Move | undefined;
  /** The move is done and durable. */
  published(): void;
  /** The store's era before its first byte was written. */
  readonly begun: number;
  /** Drops the hold; with the last one, a blob that no record owns is removed. Twice: success. */
  release(): Promise<void>;
}

export interface BlobShelf {
  /**
   * A blob from the shelf, from a fetch under way, or fetched from `sources` in order. Several pulls share one fetch; one that fails
   * is tried again by each other pull with its own sources (and credentials). Every fetch starts at byte 0.
   */
  claim(descriptor: BlobDescriptor, sources: readonly BlobSource[], signal: AbortSignal): Promise<BlobClaim>;
  /** Removes a published blob unless it is owned or claimed. */
  dropUnowned(digest: string): Promise<void>;
  isClaimed(digest: string): boolean;
}

interface Shelved {
  readonly descriptor: Pick<BlobDescriptor, 'digest' | 'size'>;
  readonly path: string;
  readonly begun: number;
  state: 'fetching' | 'ingested' | 'published';
  claims: number;
  readonly abort: AbortController;
  ready: Promise<void>;
}

/**
 * @param isOwned whether a recorded layer owns the blob
 * @param era grows when the disk has lost writes: what was begun before is not joined any more
 * @param onFetched hears the bytes of each blob that has come from a registry
 */
export function createBlobShelf(
  folders: StoreFolders,
  isOwned: (digest: string) => boolean,
  era: () => number,
  onFetched: (bytes: number) => void = () => undefined,
): BlobShelf {
  const shelf = new Map<string, Shelved>();
  let serial = 0;
  const placeOf = (digest: string): string => `${folders.blobs}/${hexOf(digest)}`;

  function begin(descriptor: BlobDescriptor, sources: readonly BlobSource[]): Shelved {
    const blob: Shelved = {
      descriptor,
      path: `${folders.ingest}/${hexOf(descriptor.digest)}.${process.pid}.${serial++}`,
      begun: era(),
      state: 'fetching',
      claims: 0,
      abort: new AbortController(),
      ready: Promise.resolve(),
    };
    blob.ready = fetchTo(blob, sources).then(
      () => {
        blob.state = 'ingested';
        onFetched(descriptor.size);
      },
      async (thrown: unknown) => {
        if (shelf.get(descriptor.digest) === blob) shelf.delete(descriptor.digest);
        await rm(blob.path, { force: true });
        throw thrown;
      },
    );
    blob.ready.catch(() => undefined);
    shelf.set(descriptor.digest, blob);
    return blob;
  }

  function fromDisk(descriptor: BlobDescriptor): Shelved {
    const blob: Shelved = {
      descriptor,
      path: placeOf(descriptor.digest),
      begun: era(),
      state: 'published',
      claims: 0,
      abort: new AbortController(),
      ready: Promise.resolve(),
    };
    shelf.set(descriptor.digest, blob);
    return blob;
  }

  async function release(blob: Shelved): Promise<void> {
    blob.claims--;
    if (blob.claims > 0) return;
    const { digest } = blob.descriptor;
    if (shelf.get(digest) === blob) shelf.delete(digest);
    blob.abort.abort();
    await blob.ready.catch(() => undefined);
    const place = placeOf(digest);
    if (blob.path !== place) await rm(blob.path, { force: true });
    // Also where a blob of an image that was removed meanwhile has stayed for this claim.
    if (!isOwned(digest) && !shelf.has(digest)) await rm(place, { force: true });
  }

  function claimOf(blob: Shelved): BlobClaim {
    let held = true;
    const { digest, size } = blob.descriptor;
    return {
      digest,
      size,
      path: blob.path,
      begun: blob.begun,
      pendingMove: () => (blob.state === 'published' ? undefined : { kind: 'link', from: blob.path, to: placeOf(digest) }),
      published() {
        blob.state = 'published';
      },
      async release() {
        if (!held) return;
        held = false;
        await release(blob);
      },
    };
  }

  return {
    async claim(descriptor, sources, signal) {
      for (;;) {
        signal.throwIfAborted();
        const there = shelf.get(descriptor.digest);
        const known = there?.state === 'published' || there?.begun === era() ? there : undefined;
        const blob = known ?? (isOwned(descriptor.digest) ? fromDisk(descriptor) : begin(descriptor, sources));
        blob.claims++;
        try {
          await orAborted(blob.ready, signal);
          return claimOf(blob);
        } catch (thrown) {
          await release(blob);
          if (signal.aborted || known === undefined) throw thrown;
          // Somebody else's fetch failed: this pull tries with its own sources.
        }
      }
    },
    async dropUnowned(digest) {
      if (isOwned(digest) || shelf.has(digest)) return;
      await rm(placeOf(digest), { force: true });
    },
    isClaimed: (digest) => shelf.has(digest),
  };
}

async function fetchTo(blob: Shelved, sources: readonly BlobSource[]): Promise<void> {
  let failure: unknown = new Error('there is no place to fetch it from');
  for (const source of sources) {
    try {
      await source(blob.path, blob.abort.signal);
      return;
    } catch (thrown) {
      failure = thrown;
      if (blob.abort.signal.aborted) break;
    }
  }
  throw wrapImageError(failure, {
    code: 'IMAGES_PULL_FAILED',
    kind: 'internal',
    attempted: 'fetch blob',
    on: blob.descriptor.digest,
    fix: 'pull again; if it repeats, check the disk of the image store',
  });
}
