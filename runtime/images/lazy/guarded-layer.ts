import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { reasonOf } from '../../../base/errors/index.ts';
import { markPreContent, unmarkPreContent } from '../../../base/kernel/index.ts';
import { headBytes } from '../erofs/format.ts';
import { chunksSha256 } from './chunk-index.ts';
import type { ChunkPlace } from './chunk-index.ts';
import type { FetchSlots } from './fetch-slots.ts';
import { createLayerFill } from './layer-fill.ts';
import type { ChunkSource, LayerFill } from './layer-fill.ts';
import type { LayerState, LazyLayer } from './protocol.ts';
import { writeAll } from './write-all.ts';

const partBytes = 1024 * 1024;
/** Maximum number of log entries for one layer per second. */
const mostReasons = 5;

/** How long a layer waits after its check failed because of the disk: the first time, and at most. */
const recheckMs = [1_000, 600_000] as const;

/** Maximum number of repositories that are asked for the parts of one layer. */
const mostSources = 4;

/** A repository, and the places that serve it. */
export interface LayerSource {
  readonly name: string;
  readonly parts: readonly ChunkSource[];
}

/** A layer file for which the kernel asks the filler before each read. */
export interface GuardedLayer {
  readonly folder: string;
  /** `device:inode` of the file. */
  readonly key: string;
  state(): LayerState;
  why(): string;
  /** Resolves with the answer to a read: true when the whole range is filled. */
  admits(offset: number, length: number): Promise<boolean>;
  /** Fills the missing parts, then checks the whole layer. Resolves when the state is final. */
  complete(): Promise<void>;
  /** Whether the file has no name any more. */
  isRemoved(): Promise<boolean>;
  /** Whether it is filled from the same blob with the same chunks, and has the same metadata. */
  isFilledBy(chunks: LazyLayer['chunks']): boolean;
  /** Adds a repository after the others; a known repository gets new credentials. */
  addSource(source: LayerSource): void;
  /** Allows every read. Only for a complete layer. */
  unguard(): void;
  close(): Promise<void>;
}

/**
 * Guards a layer file: reads through every descriptor that is opened after this call wait for an answer.
 * @throws KERNEL_…, or the error of a file
 */
export async function guardLayer(
  { folder, path, blobPath, chunks }: LazyLayer,
  deps: {
    readonly group: number;
    readonly source: LayerSource;
    readonly slots: FetchSlots;
    readonly log: (level: 'warn' | 'error', fields: Record<string, unknown>, text: string) => void;
  },
): Promise<GuardedLayer> {
  const { group, slots, log } = deps;
  /** The repository of another image that has the layer never takes the place of the first one. */
  const sources = new Map([[deps.source.name, deps.source.parts]]);
  // Opened before the mark, so that reads and writes of the filler create no events.
  const file = await open(path, constants.O_RDWR | constants.O_NOFOLLOW);
  let blob: FileHandle | undefined;
  try {
    blob = await open(blobPath, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
    await blob.truncate(chunks.blob.size);
    markPreContent(group, `/proc/self/fd/${file.fd}`);
  } catch (thrown) {
    await file.close();
    await blob?.close();
    throw thrown;
  }
  const stats = await file.stat({ bigint: true });
  const target = blob;
  const ownChunks = chunksSha256(chunks);
  let state: LayerState = 'filling';
  let why = '';
  const ended = new AbortController();
  const isClosed = (): boolean => ended.signal.aborted;
  let said = { at: 0, count: 0 };

  function warn(fields: Record<string, unknown>, text: string): void {
    const now = performance.now();
    if (now - said.at > 1000) said = { at: now, count: 0 };
    said.count += 1;
    if (said.count <= mostReasons) log('warn', { layer: folder, ...fields }, text);
  }

  const fill: LayerFill = createLayerFill({
    layer: chunks,
    sources: () => [...sources.values()].flat(),
    store: (place, content, part) => storeChunk(file, target, place, content, part),
    slots,
    failed(chunk, { at, bytes }, reason) {
      warn(
        { chunk, at, bytes, why: reason },
        'a part of a layer could not be fetched and stored: reads of it fail',
      );
    },
  });

  return {
    folder,
    key: `${stats.dev}:${stats.ino}`,
    state: () => state,
    why: () => why,
    async admits(offset, length) {
      if (state === 'complete') return true;
      // Also for filled parts, because the publisher's index does not belong to the image.
      if (state === 'refused') return false;
      try {
        await fill.need(offset, length);
        return true;
      } catch (thrown) {
        warn({ offset, length, why: reasonOf(thrown) }, 'a read of a layer was refused');
        return false;
      }
    },
    async complete() {
      void fill.fillFirst();
      const durable = makeDurable(file, slots, ended.signal);
      const fillRest = (): Promise<void> => durable().then(fill.fillRest);
      try {
        const bad = await fillAndCheck({
          ...{ fill: { ...fill, fillRest }, isClosed, retryMs: recheckMs },
          check: () => contentFault(file, target, chunks),
          failed(reason) {
            const fields = { layer: folder, why: reason };
            log('error', fields, 'the disk failed while a layer was checked: its parts are fetched again');
          },
        });
        if (isClosed()) return;
        state = bad === undefined ? 'complete' : 'refused';
        why = bad ?? '';
      } catch (thrown) {
        if (isClosed()) return;
        state = 'refused';
        why = reasonOf(thrown);
      }
      if (state === 'refused') log('error', { layer: folder, why }, 'a fetched layer could not be verified');
    },
    isRemoved: async () => (await file.stat()).nlink === 0,
    isFilledBy: (other) =>
      other.blob.digest === chunks.blob.digest &&
      other.diffId === chunks.diffId &&
      other.metadataSha256 === chunks.metadataSha256 &&
      chunksSha256(other) === ownChunks,
    addSource({ name, parts }) {
      const [, second] = sources.keys();
      if (!sources.has(name) && sources.size === mostSources) sources.delete(second ?? '');
      sources.set(name, parts);
    },
    unguard() {
      if (state !== 'complete') throw new Error('the layer is not complete');
      unmarkPreContent(group, `/proc/self/fd/${file.fd}`);
    },
    async close() {
      const why = 'the layer is no longer needed';
      ended.abort(new Error(why));
      fill.close(why);
      await file.close();
      await target.close();
    },
  };
}

/** Writes a checked chunk to the file of a layer and to its blob. */
async function storeChunk(
  file: FileHandle,
  blob: FileHandle,
  place: ChunkPlace,
  content: Uint8Array,
  part: Uint8Array,
): Promise<void> {
  const written = [writeAll(file, content, place.at), writeAll(blob, part, place.blobAt)];
  // Both have ended before the chunk is fetched again.
  const failed = (await Promise.allSettled(written)).find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

/**
 * Returns a function that makes the metadata of a file durable when it is called for the first time. The
 * metadata was only written to the cache: a failure must be known before the kernel drops a page of it.
 */
function makeDurable(file: FileHandle, slots: FetchSlots, signal: AbortSignal): () => Promise<void> {
  let isDurable = false;
  return () =>
    slots.run(
      'background',
      async () => {
        if (!isDurable) await file.datasync();
        isDurable = true;
      },
      signal,
      file,
    );
}

/**
 * Fills a layer and checks it. A failed check is no verdict: after a lost write, the kernel reports the next
 * one as durable. So all chunks are written again, and the check is repeated.
 * @returns what is wrong with the content; undefined: nothing is, or the layer was closed
 * @throws the errors of the fill
 */
export async function fillAndCheck(deps: {
  readonly fill: Pick<LayerFill, 'fillRest' | 'lose'>;
  readonly check: () => Promise<string | undefined>;
  readonly isClosed: () => boolean;
  readonly failed: (why: string) => void;
  readonly retryMs: readonly [first: number, most: number];
}): Promise<string | undefined> {
  const { fill, check, isClosed, failed, retryMs } = deps;
  let [wait] = retryMs;
  while (!isClosed()) {
    await fill.fillRest();
    try {
      return await check();
    } catch (thrown) {
      if (isClosed()) return undefined;
      failed(reasonOf(thrown));
    }
    fill.lose();
    await pause(wait);
    wait = Math.min(2 * wait, retryMs[1]);
  }
  return undefined;
}

/** Returns what is wrong with a filled layer; undefined: the disk has the signed content. */
async function contentFault(
  file: FileHandle,
  blob: FileHandle,
  chunks: LazyLayer['chunks'],
): Promise<string | undefined> {
  await file.datasync();
  await blob.datasync();
  const archive = await digestOf(file, headBytes, chunks.archiveBytes);
  if (archive !== chunks.diffId) return `its archive has the digest ${archive}, which is not its diff id`;
  const whole = await digestOf(blob, 0, chunks.blob.size);
  return whole === chunks.blob.digest
    ? undefined
    : `its blob has the digest ${whole}, which is not the recorded one`;
}

async function digestOf(file: FileHandle, from: number, length: number): Promise<string> {
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafe(partBytes);
  for (let done = 0; done < length;) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(partBytes, length - done), from + done);
    if (bytesRead === 0) throw new Error('the file became shorter');
    hash.update(buffer.subarray(0, bytesRead));
    done += bytesRead;
  }
  return `sha256:${hash.digest('hex')}`;
}
