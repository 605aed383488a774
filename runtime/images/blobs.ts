import { rm, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { isServerDown } from '../../base/distribution/index.ts';
import { isPortcullisError } from '../../base/errors/index.ts';
import { wrapImageError } from './limits/failures.ts';
import { hexOf } from './folders.ts';
import type { StoreFolders } from './folders.ts';
import type { BlobDescriptor } from './manifest/json.ts';
import { orAborted } from '../../base/queues/index.ts';
import type { Move } from './layer-workers/protocol.ts';

/**
 * Fetches a blob into a file. If the file exists, it holds the first bytes of the blob, and only the rest is
 * fetched. Fails when digest or size differ (base/distribution checks both while it streams).
 */
export type BlobSource = (path: string, signal: AbortSignal) => Promise<void>;

/** The claim of one pull on one blob: the file stays as long as a claim exists. */
export interface BlobClaim {
  readonly digest: string;
  readonly size: number;
  /** The path of the file as long as the claim exists. */
  readonly path: string;
  /** Returns the move out of ingest that an admitted pull needs; undefined if the blob is stored already. */
  pendingMove(): Move | undefined;
  /** Reports that the move is done and durable. */
  published(): void;
  /** The store's era before its first byte was written. */
  readonly begun: number;
  /**
   * Releases the claim. With the last claim, a blob that no record owns is removed. A second call succeeds.
   */
  release(): Promise<void>;
}

/** The sources of a blob, in the order in which to ask them. */
export interface BlobSources {
  /**
   * Where the sources are. A pull joins no fetch from another place: a slow or hostile registry would delay
   * the images of all other registries that have the blob too.
   */
  readonly from: string;
  readonly sources: readonly BlobSource[];
  /** The sources are not a registry: the bytes do not count as fetched. */
  readonly isLocal?: boolean;
}

export interface BlobStore {
  /**
   * Returns a blob from the store, from a fetch in progress, or fetched from its sources in order. Pulls
   * from one place share a fetch; if it fails, each other pull tries again with its own sources (and
   * credentials). A fetch tries each source in turn, and each source continues where the one before stopped.
   * Wrong content is discarded and fetched once more. While servers are down, the fetch waits for them, up to
   * 31 s without progress.
   */
  claim(descriptor: BlobDescriptor, sources: BlobSources, signal: AbortSignal): Promise<BlobClaim>;
  /** Removes a published blob unless it is owned or claimed. */
  dropUnowned(digest: string): Promise<void>;
  isClaimed(digest: string): boolean;
}

interface ClaimedBlob {
  readonly descriptor: Pick<BlobDescriptor, 'digest' | 'size'>;
  readonly path: string;
  /** {@link BlobSources.from} */
  readonly from: string;
  readonly begun: number;
  state: 'fetching' | 'ingested' | 'published';
  claims: number;
  readonly abort: AbortController;
  ready: Promise<void>;
}

/**
 * @param isOwned whether a recorded layer owns the blob
 * @param era grows when the disk has lost writes: no pull joins a fetch that began in an earlier era
 * @param onFetched receives the bytes of each blob that was fetched from a registry
 * @param waits milliseconds before each further attempt while servers are down
 */
export function createBlobStore(
  folders: StoreFolders,
  isOwned: (digest: string) => boolean,
  era: () => number,
  onFetched: (bytes: number) => void = () => undefined,
  waits: readonly number[] = downWaits,
): BlobStore {
  const claimed = createClaimedBlobs();
  /** Blobs whose files are being removed: a removal may be slow, and must not meet a new file. */
  const removing = new Map<string, Promise<void>>();
  let serial = 0;
  const placeOf = (digest: string): string => `${folders.blobs}/${hexOf(digest)}`;

  function begin(descriptor: BlobDescriptor, { from, sources, isLocal = false }: BlobSources): ClaimedBlob {
    const path = `${folders.ingest}/${hexOf(descriptor.digest)}.${process.pid}.${serial++}`;
    const blob = newBlob(descriptor, { path, from, begun: era(), state: 'fetching' });
    blob.ready = fetchTo(blob, sources, waits).then(
      () => {
        blob.state = 'ingested';
        if (!isLocal) onFetched(descriptor.size);
      },
      async (thrown: unknown) => {
        claimed.delete(blob);
        // A file system that takes no writes removes nothing either; the next start removes the file.
        await rm(blob.path, { force: true }).catch(() => undefined);
        throw thrown;
      },
    );
    blob.ready.catch(() => undefined);
    claimed.add(blob);
    return blob;
  }

  function fromDisk(descriptor: BlobDescriptor, { from }: BlobSources): ClaimedBlob {
    const path = placeOf(descriptor.digest);
    const blob = newBlob(descriptor, { path, from, begun: era(), state: 'published' });
    claimed.add(blob);
    return blob;
  }

  /** Removes a published blob unless it is owned or claimed. */
  async function removeUnowned(digest: string): Promise<void> {
    if (isOwned(digest) || claimed.has(digest)) return;
    const removal = rm(placeOf(digest), { force: true }).finally(() => {
      if (removing.get(digest) === removal) removing.delete(digest);
    });
    removing.set(digest, removal);
    await removal;
  }

  async function release(blob: ClaimedBlob): Promise<void> {
    blob.claims--;
    if (blob.claims > 0) return;
    const { digest } = blob.descriptor;
    claimed.delete(blob);
    blob.abort.abort();
    await blob.ready.catch(() => undefined);
    const place = placeOf(digest);
    if (blob.path !== place) await rm(blob.path, { force: true });
    // The image may have been removed meanwhile: its blob then remained only for this claim.
    await removeUnowned(digest);
  }

  function claimOf(blob: ClaimedBlob): BlobClaim {
    let held = true;
    const { digest, size } = blob.descriptor;
    return {
      digest,
      size,
      path: blob.path,
      begun: blob.begun,
      // A pull from another place may have published the same bytes.
      pendingMove: () =>
        isOwned(digest) || claimed.of(digest).some(({ state }) => state === 'published')
          ? undefined
          : { kind: 'link', from: blob.path, to: placeOf(digest) },
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
        const removal = removing.get(descriptor.digest);
        if (removal !== undefined) {
          await orAborted(
            removal.catch(() => undefined),
            signal,
          );
          continue;
        }
        const known = claimed.of(descriptor.digest).find((each) => mayJoin(each, sources.from, era()));
        const blob =
          known ?? (isOwned(descriptor.digest) ? fromDisk(descriptor, sources) : begin(descriptor, sources));
        blob.claims++;
        try {
          await orAborted(blob.ready, signal);
          return claimOf(blob);
        } catch (thrown) {
          await release(blob).catch(() => undefined);
          if (signal.aborted || known === undefined) throw thrown;
          // The fetch of another pull failed: this pull tries with its own sources.
        }
      }
    },
    dropUnowned: removeUnowned,
    isClaimed: (digest) => claimed.has(digest),
  };
}

/** Whether a pull may use this blob, or wait for it. */
function mayJoin({ state, begun, from }: ClaimedBlob, place: string, era: number): boolean {
  return state === 'published' || (begun === era && (state === 'ingested' || from === place));
}

interface ClaimedBlobs {
  add(blob: ClaimedBlob): void;
  /** Absent: success. */
  delete(blob: ClaimedBlob): void;
  has(digest: string): boolean;
  of(digest: string): readonly ClaimedBlob[];
}

/** The blobs with claims, by digest: one for each place from which it is fetched. */
function createClaimedBlobs(): ClaimedBlobs {
  const byDigest = new Map<string, readonly ClaimedBlob[]>();
  const of = (digest: string): readonly ClaimedBlob[] => byDigest.get(digest) ?? [];
  return {
    add: (blob) => void byDigest.set(blob.descriptor.digest, [...of(blob.descriptor.digest), blob]),
    delete(blob) {
      const { digest } = blob.descriptor;
      const others = of(digest).filter((each) => each !== blob);
      if (others.length === 0) byDigest.delete(digest);
      else byDigest.set(digest, others);
    },
    has: (digest) => byDigest.has(digest),
    of,
  };
}

/** Returns a blob that no pull has claimed yet. */
function newBlob(
  descriptor: BlobDescriptor,
  facts: Pick<ClaimedBlob, 'path' | 'from' | 'begun' | 'state'>,
): ClaimedBlob {
  return {
    descriptor,
    ...facts,
    claims: 0,
    abort: new AbortController(),
    ready: Promise.resolve(),
  };
}

/** Milliseconds before each further round over all sources while a server is down: 31 s together. */
const downWaits = [1_000, 2_000, 4_000, 8_000, 16_000] as const;
/** A round that fetches this many bytes counts as progress: the waits begin again with the shortest. */
const roundProgress = 1024 * 1024;
/**
 * Maximum, however often a server goes down and comes back: each round hashes the bytes in the file again.
 */
const mostRounds = 20;

async function fetchTo(
  blob: ClaimedBlob,
  sources: readonly BlobSource[],
  waits: readonly number[],
): Promise<void> {
  const { signal } = blob.abort;
  let failure: unknown = new Error('there is no source to fetch it from');
  let [waited, wrong, mark] = [0, 0, 0];
  for (let rounds = 1; ; rounds += 1) {
    const round = await fetchOnce(blob, sources);
    if (round === undefined) return;
    failure = round.failure ?? failure;
    if (signal.aborted) break;
    wrong += round.wrong ? 1 : 0;
    if (round.wrong && wrong === 1) continue;
    if (!round.down || rounds >= mostRounds) break;
    const size = await sizeOf(blob.path);
    if (size - mark >= roundProgress) waited = 0;
    mark = size;
    const wait = waits[waited];
    if (wait === undefined) break;
    waited += 1;
    const isOver = await sleep(wait, false, { signal }).catch(() => true);
    if (isOver) break;
  }
  throw wrapImageError(failure, {
    code: 'IMAGES_PULL_FAILED',
    kind: 'internal',
    attempted: 'fetch blob',
    on: blob.descriptor.digest,
    fix: 'pull again; if it repeats, check the disk of the image store',
  });
}

/** Why no source had the blob in one round. */
interface Round {
  readonly failure: unknown;
  /** A source sent wrong content, which was discarded: no one knows which of its bytes were wrong. */
  readonly wrong: boolean;
  readonly down: boolean;
}

/** Tries each source once. Returns nothing if the blob is here. */
async function fetchOnce(
  { path, abort }: ClaimedBlob,
  sources: readonly BlobSource[],
): Promise<Round | undefined> {
  let failure: unknown;
  let [wrong, down] = [false, false];
  for (const source of sources) {
    try {
      await source(path, abort.signal);
      return undefined;
    } catch (thrown) {
      if (failure === undefined || !isPortcullisError(thrown) || thrown.kind !== 'not-found')
        failure = thrown;
      if (isPortcullisError(thrown) && wrongContent.has(thrown.code)) {
        wrong = true;
        await rm(path, { force: true });
      }
      down ||= isServerDown(thrown);
      if (abort.signal.aborted) break;
    }
  }
  return { failure, wrong, down };
}

const wrongContent: ReadonlySet<string> = new Set([
  'DISTRIBUTION_DIGEST_MISMATCH',
  'DISTRIBUTION_SIZE_MISMATCH',
  // From a layout whose image is imported.
  'TRUST_ARCHIVE_DAMAGED',
]);

async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    ({ size }) => size,
    () => 0,
  );
}
