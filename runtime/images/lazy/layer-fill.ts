import { webcrypto } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { errnoOf, reasonOf } from '../../../base/errors/index.ts';
import { chunkTable } from './chunk-index.ts';
import type { ChunkPlace, LayerChunks } from './chunk-index.ts';
import type { FetchSlots, Urgency } from './fetch-slots.ts';

const inflate = promisify(gunzip);

/** Times of the fetches of one layer, in milliseconds. */
export interface FillTimes {
  /** How long a process waits for what it reads. */
  readonly demandMs: number;
  /** How long one source may take for one chunk. */
  readonly fetchMs: number;
  /** How long a read waits for a background fetch before it begins a second fetch. */
  readonly hedgeMs: number;
  /** How long reads of a chunk whose fetch failed are refused without another fetch. */
  readonly refuseMs: number;
  /** How long the background fetches wait after a failure: the first time, and at most. */
  readonly retryMs: readonly [first: number, most: number];
}

const defaultFillTimes: FillTimes = {
  demandMs: 30_000,
  fetchMs: 10_000,
  hedgeMs: 2_000,
  refuseMs: 1_000,
  retryMs: [1_000, 60_000],
};

/** Fetches a part of the blob. @throws the reason for which it cannot be fetched */
export type ChunkSource = (part: ChunkPlace, signal: AbortSignal) => Promise<Uint8Array>;

export interface LayerFillDeps {
  readonly layer: Pick<LayerChunks, 'chunks' | 'first'>;
  /** In the order in which they are asked, for example mirrors and the registry. */
  readonly sources: () => readonly ChunkSource[];
  /** Writes a checked chunk to the file of the layer and to its blob. */
  readonly store: (place: ChunkPlace, content: Uint8Array, part: Uint8Array) => Promise<void>;
  readonly slots: FetchSlots;
  readonly times?: FillTimes;
  /** Called for each chunk that could not be fetched and stored. */
  readonly failed: (chunk: number, place: ChunkPlace, why: string) => void;
}

/** Fills the file of one layer, chunk by chunk. All readers of a chunk share one fetch. */
export interface LayerFill {
  /** Resolves when a range of the file is filled. @throws the reason, after `demandMs` at most */
  need(offset: number, length: number): Promise<void>;
  /** Fetches the chunks that the first process will probably read, once each. Never fails. */
  fillFirst(): Promise<void>;
  /**
   * Fetches all missing chunks, and tries again until the layer is complete.
   * @throws when the fill is closed, and when the index is wrong: no source can serve a signed chunk
   */
  fillRest(): Promise<void>;
  /** Forgets that chunks are filled, because the disk has lost them. */
  lose(): void;
  /** The number of filled chunks. */
  filled(): number;
  /** Ends all fetches; waiting reads are refused. */
  close(why: string): void;
}

/** The source would serve the same bytes again. */
class WrongBytes extends Error {}

/** The signed bytes are not a chunk of the signed length: every source would have to serve them. */
class WrongIndex extends Error {}

/** The chunk was fetched, and the disk did not take it: another source does not help. */
class NotStored extends Error {}

/** Errors of zlib that depend only on its input, unlike a lack of memory. */
const badInput = new Set(['ERR_BUFFER_TOO_LARGE', 'Z_BUF_ERROR', 'Z_DATA_ERROR', 'Z_NEED_DICT']);

/** Whether another fetch from the same source would have the same result. */
const isLasting = (thrown: unknown): boolean =>
  thrown instanceof WrongBytes || thrown instanceof WrongIndex || thrown instanceof NotStored;

/** Returns the content of a chunk. Only bytes that the publisher has signed are inflated. */
async function signedContent(place: ChunkPlace, part: Uint8Array): Promise<Buffer> {
  // In a thread of the pool: meanwhile this thread answers other readers.
  const digest =
    part.length === place.blobBytes
      ? await webcrypto.subtle.digest('SHA-256', part as Uint8Array<ArrayBuffer>)
      : undefined;
  if (digest === undefined || Buffer.from(digest).toString('hex') !== place.sha256)
    throw new WrongBytes('the bytes from the registry differ from the bytes that the publisher has signed');
  const wrong = 'the signed chunk does not inflate to the signed length';
  const content = await inflate(part, { maxOutputLength: place.bytes }).catch((thrown: unknown) => {
    throw badInput.has(errnoOf(thrown) ?? '') ? new WrongIndex(wrong, { cause: thrown }) : thrown;
  });
  if (content.length !== place.bytes) throw new WrongIndex(wrong);
  return content;
}

/** Joins a running fetch of a chunk, or begins a fetch. */
function join(flights: Map<number, Promise<void>>, chunk: number, fetch: () => Promise<void>): Promise<void> {
  const known = flights.get(chunk);
  if (known !== undefined) return known;
  const flight = fetch().finally(() => flights.delete(chunk));
  flight.catch(() => undefined);
  flights.set(chunk, flight);
  return flight;
}

/** The registry was too slow. */
class TooLate extends Error {}

/** @throws the reason, or that the registry was too slow */
async function within(wanted: Promise<unknown>, ms: number): Promise<void> {
  const limit = new AbortController();
  const late = pause(ms, undefined, { signal: limit.signal }).then(() => {
    throw new TooLate(`the registry did not serve it within ${ms / 1000} s`);
  });
  late.catch(() => undefined);
  try {
    await Promise.race([wanted, late]);
  } finally {
    limit.abort();
  }
}

/** Waits until a fetch has ended, whatever its result, for `ms` at most. */
async function settledWithin(fetch: Promise<unknown>, ms: number): Promise<void> {
  const patience = new AbortController();
  const enough = pause(ms, undefined, { signal: patience.signal });
  await Promise.race([fetch, enough]).catch(() => undefined);
  patience.abort();
  enough.catch(() => undefined);
}

/** Fetches a chunk from one source and stores it. @throws the reason; see {@link isLasting} */
async function fetchAndStore(
  source: ChunkSource,
  place: ChunkPlace,
  store: LayerFillDeps['store'],
  signal: AbortSignal,
): Promise<void> {
  const part = await source(place, signal);
  const content = await signedContent(place, part);
  await store(place, content, part).catch((thrown: unknown) => {
    throw new NotStored(reasonOf(thrown), { cause: thrown });
  });
}

/** The chunks whose fetch failed a moment ago. */
function createRefusals(ms: number) {
  const refused = new Map<number, { readonly until: number; readonly reason: unknown }>();
  return {
    add(chunk: number, reason: unknown): void {
      refused.set(chunk, { until: performance.now() + ms, reason });
    },
    /** @throws the reason of the failure */
    throwIfRecent(chunk: number): void {
      const recent = refused.get(chunk);
      if (recent !== undefined && recent.until > performance.now()) throw recent.reason;
    },
    delete(chunk: number): void {
      refused.delete(chunk);
    },
  };
}

/**
 * Returns a handler that refuses the chunks that a read has waited for in vain. The kernel repeats a read
 * that fails, and its process would wait for the same fetches once more.
 */
function refusingLate(
  refused: Pick<ReturnType<typeof createRefusals>, 'add'>,
  chunks: readonly number[],
  isThere: Uint8Array,
): (thrown: unknown) => never {
  return (thrown) => {
    if (thrown instanceof TooLate)
      for (const chunk of chunks) if (isThere[chunk] !== 1) refused.add(chunk, thrown);
    throw thrown;
  };
}

export function createLayerFill(deps: LayerFillDeps): LayerFill {
  const { layer, sources, store, slots, times = defaultFillTimes, failed } = deps;
  const table = chunkTable(layer);
  const isThere = new Uint8Array(table.count);
  const demanded = new Map<number, Promise<void>>();
  const inBackground = new Map<number, Promise<void>>();
  const refused = createRefusals(times.refuseMs);
  const ended = new AbortController();
  let there = 0;
  /** Ends the fill of the rest. */
  let wrong: WrongIndex | undefined;

  async function fetchChunk(chunk: number): Promise<void> {
    const place = table.place(chunk);
    let reason: unknown = new Error('the image has no source');
    for (const source of sources()) {
      try {
        ended.signal.throwIfAborted();
        const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(times.fetchMs)]);
        await fetchAndStore(source, place, store, signal);
        // A second fetch may have been faster.
        if (isThere[chunk] !== 1) there += 1;
        isThere[chunk] = 1;
        refused.delete(chunk);
        return;
      } catch (thrown) {
        ended.signal.throwIfAborted();
        reason = thrown;
        if (thrown instanceof WrongIndex) wrong = thrown;
        if (thrown instanceof WrongIndex || thrown instanceof NotStored) break;
      }
    }
    // Another fetch would have the same result, whoever asks.
    if (isLasting(reason)) refused.add(chunk, reason);
    failed(chunk, place, reasonOf(reason));
    throw reason;
  }

  async function demand(chunk: number): Promise<void> {
    refused.throwIfRecent(chunk);
    const begun = inBackground.get(chunk);
    if (begun !== undefined) {
      // It may hang until the time limit of a fetch, and another fetch may succeed meanwhile.
      await settledWithin(begun, times.hedgeMs);
    }
    if (isThere[chunk] === 1) return;
    const fetch = (): Promise<void> => slots.run('demanded', () => fetchChunk(chunk), ended.signal, layer);
    await fetch().catch((thrown: unknown) => {
      // A process may give up permanently after an error, although only a connection broke.
      if (isLasting(thrown) || ended.signal.aborted) throw thrown;
      return fetch().catch((again: unknown) => {
        // A failed background fetch refuses no read: only a read that failed twice does.
        refused.add(chunk, again);
        throw again;
      });
    });
  }

  async function fetchInBackground(chunk: number, urgency: Urgency = 'background'): Promise<void> {
    // Reads can join it only when it has its turn, so that no read waits for that turn.
    await slots.run(
      urgency,
      async () => {
        if (isThere[chunk] === 1) return;
        await (demanded.get(chunk) ?? join(inBackground, chunk, () => fetchChunk(chunk)));
      },
      ended.signal,
      layer,
    );
  }

  return {
    async need(offset, length) {
      const { first, end } = table.touching(offset, length);
      const missing: number[] = [];
      for (let chunk = first; chunk < end; chunk += 1) if (isThere[chunk] !== 1) missing.push(chunk);
      if (missing.length === 0) return;
      for (const chunk of missing) refused.throwIfRecent(chunk);
      const wanted = missing.map((chunk) => join(demanded, chunk, () => demand(chunk)));
      await within(Promise.all(wanted), times.demandMs).catch(refusingLate(refused, missing, isThere));
    },
    async fillFirst() {
      await Promise.allSettled((layer.first ?? []).map((chunk) => fetchInBackground(chunk, 'early')));
    },
    async fillRest() {
      const [first, most] = times.retryMs;
      let wait = first;
      while (there < table.count) {
        let failures = 0;
        let next = 0;
        const before = there;
        // As many at a time as there are slots for background fetches.
        const run = async (): Promise<void> => {
          for (let chunk = next++; chunk < table.count; chunk = next++) {
            ended.signal.throwIfAborted();
            if (wrong !== undefined) throw wrong;
            if (isThere[chunk] === 1) continue;
            await fetchInBackground(chunk).catch(() => (failures += 1));
            // If the registry is down, not every chunk is requested.
            if (failures > 8) return;
          }
        };
        await Promise.all([run(), run(), run()]);
        ended.signal.throwIfAborted();
        if (wrong !== undefined) throw wrong;
        if (there === table.count) return;
        if (there > before) wait = first;
        await pause(wait, undefined, { signal: ended.signal });
        wait = Math.min(2 * wait, most);
      }
    },
    lose() {
      isThere.fill(0);
      there = 0;
    },
    filled: () => there,
    close: (why) => ended.abort(new Error(why)),
  };
}
