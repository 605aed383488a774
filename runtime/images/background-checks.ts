import { readFile } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { dropAbandonedWrites, writeFileAtomic } from '../../base/storage/index.ts';
import type { StoreFolders } from './folders.ts';
import type { ImageRecords } from './records.ts';
import type { ImageUpkeep } from './upkeep.ts';

/**
 * Compares all layers with their records in repeated passes, because a disk may change stored data: one layer
 * at a time, in a thread of low priority, at a limited rate. Layers that fs-verity protects are skipped: the
 * kernel compares each block when it reads it. After a restart of the daemon, a pass continues where it was
 * interrupted.
 */
export interface BackgroundChecks {
  /** The upkeep of the store ends the check in progress: close the upkeep first. */
  close(): Promise<void>;
}

export interface BackgroundChecksDeps {
  readonly folders: Pick<StoreFolders, 'root'>;
  readonly records: Pick<ImageRecords, 'layers' | 'layer'>;
  readonly upkeep: Pick<ImageUpkeep, 'check'>;
  readonly log: Pick<Logger, 'info' | 'warn' | 'debug'>;
}

export interface BackgroundChecksOptions {
  /** Milliseconds from the start of a pass to the start of the next one. */
  readonly everyMs: number;
  /** Bytes of layers that are read per second, on average. */
  readonly bytesPerSecond?: number;
}

const defaultRate = 32 * 1024 * 1024;
/** A timer of Node runs for at most 24 days, and the clock may change meanwhile. */
const longestWaitMs = 3_600_000;

interface Progress {
  /** When the pass began, or will begin. */
  readonly begins: number;
  /** The layer that was checked last: a pass goes through the layers in the order of their names. */
  readonly after: string;
}

/**
 * Starts the checks. The first pass begins after the first interval: pulled layers have just been compared.
 */
export function startBackgroundChecks(
  { folders, records, upkeep, log }: BackgroundChecksDeps,
  { everyMs, bytesPerSecond = defaultRate }: BackgroundChecksOptions,
): BackgroundChecks {
  const closing = new AbortController();
  const { signal } = closing;
  const path = `${folders.root}/layer-checks.json`;

  let canWrite = true;
  /** On a full disk, only the progress is lost, which only a restart needs. */
  const keep = async (act: () => Promise<void>): Promise<void> => {
    try {
      await act();
      canWrite = true;
    } catch (thrown) {
      if (canWrite)
        log.warn(
          { path, error: reasonOf(thrown) },
          'the progress of the background checks cannot be written; a restart begins the pass again',
        );
      canWrite = false;
    }
  };
  const write = (progress: Progress): Promise<void> =>
    keep(() => writeFileAtomic(path, JSON.stringify(progress), { mode: 0o600, durable: false }));
  const wait = (ms: number): Promise<void> => pause(ms, undefined, { signal, ref: false });

  async function run(): Promise<void> {
    await keep(() => dropAbandonedWrites(path));
    let progress = (await read(path)) ?? { begins: Date.now() + everyMs, after: '' };
    await write(progress);
    for (;;) {
      // A clock that was set back does not put off the next pass for longer than an interval.
      for (let left = leftOf(progress); left > 0; left = leftOf(progress)) {
        if (left > everyMs) progress = { ...progress, begins: Date.now() + everyMs };
        await wait(Math.min(left, everyMs, longestWaitMs));
      }
      const begun = Date.now();
      await pass(progress);
      progress = { begins: begun + everyMs, after: '' };
      await write(progress);
    }
  }

  async function pass({ begins, after }: Progress): Promise<void> {
    const due = [...records.layers()]
      .filter((row) => row.verity === undefined && row.folder > after)
      .map(({ folder }) => folder)
      .sort();
    log.info(
      { layers: due.length },
      'stored layers are compared in the background with the verified content',
    );
    let damaged = 0;
    for (const folder of due) {
      const bytes = records.layer(folder)?.bytes ?? 0;
      const from = performance.now();
      if (!(await isWhole(folder))) damaged += 1;
      await write({ begins, after: folder });
      await wait(Math.max(0, (1000 * bytes) / bytesPerSecond - (performance.now() - from)));
    }
    log.info({ layers: due.length, damaged }, 'stored layers were compared with the verified content');
  }

  async function isWhole(folder: string): Promise<boolean> {
    try {
      // The upkeep logs a damaged layer, and has it restored before its next use.
      return (await upkeep.check(folder)).damaged.length === 0;
    } catch (thrown) {
      signal.throwIfAborted();
      // It was removed meanwhile.
      if (!isPortcullisError(thrown) || thrown.code !== 'IMAGES_LAYER_UNKNOWN')
        log.warn(
          { layer: folder, error: reasonOf(thrown) },
          'a layer could not be compared; the next pass tries again',
        );
      return true;
    }
  }

  const running = run().catch((thrown: unknown) => {
    if (!signal.aborted)
      log.warn({ error: reasonOf(thrown) }, 'the background checks of layers have stopped');
  });
  return {
    close() {
      closing.abort();
      return running;
    },
  };
}

const leftOf = ({ begins }: Progress): number => begins - Date.now();

async function read(path: string): Promise<Progress | undefined> {
  try {
    const value = parseJson(await readFile(path, 'utf8'));
    if (typeof value !== 'object' || value === null || !('begins' in value) || !('after' in value))
      return undefined;
    const { begins, after } = value;
    return typeof begins === 'number' && typeof after === 'string' ? { begins, after } : undefined;
  } catch {
    // Missing, or cut off by a power cut: the interval begins again.
    return undefined;
  }
}
