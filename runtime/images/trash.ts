import { mkdir, readdir, rename, rmdir, unlink } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { Kernel } from '../../base/kernel/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { errnoOf } from './limits/failures.ts';

/**
 * Deletes big trees, which takes seconds: renames them into the trash folder at once and removes them in the
 * background.
 */
export interface Trash {
  /** Absent: success. */
  discard(path: string): Promise<void>;
  /** Removes the trash of an earlier run. */
  empty(): Promise<void>;
  /** Waits for the removals in progress. */
  settled(): Promise<void>;
  /**
   * Starts no further removal, and gives the current one some time. The next start removes the rest: an
   * orderly stop does not wait until the trees of a hundred images are gone.
   */
  close(patienceMs?: number): Promise<void>;
}

/** A removal that fails, for example for lack of threads, is tried again. */
const firstPauseMs = 1_000;
const longestPauseMs = 60_000;
const closingMs = 2_000;
/** The folder of a layer in one file has this many files at most. */
const fewFiles = 4;

export function createTrash(
  folder: string,
  kernel: Pick<Kernel, 'removeTree' | 'giveUpRemovals'>,
  log: Pick<Logger, 'warn'>,
): Trash {
  let tail: Promise<void> = Promise.resolve();
  let closed = false;
  const isClosed = (): boolean => closed;

  function remove(path: string, pauseMs = firstPauseMs): void {
    tail = tail.then(async () => {
      if (isClosed()) return;
      try {
        if (!(await removeFewFiles(path))) await kernel.removeTree(path);
      } catch (error) {
        if (isClosed()) return;
        if (pauseMs === firstPauseMs)
          log.warn(
            { path, error: String(error) },
            'discarded files could not be removed; the removal is tried again',
          );
        setTimeout(() => remove(path, Math.min(pauseMs * 2, longestPauseMs)), pauseMs).unref();
      }
    });
  }

  return {
    async discard(path) {
      const target = `${folder}/${randomUUID()}`;
      try {
        await rename(path, target);
      } catch (thrown) {
        const errno = errnoOf(thrown);
        if (errno === 'ENOENT') return;
        // On a full disk the trash folder may have no room for another name. Writable layers may be on a file
        // system of their own.
        if (errno === 'ENOSPC' || errno === 'EDQUOT' || errno === 'EXDEV') return kernel.removeTree(path);
        throw thrown;
      }
      remove(target);
    },
    async empty() {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      for (const name of await readdir(folder)) remove(`${folder}/${name}`);
    },
    settled: () => tail,
    close: async (patienceMs = closingMs) => {
      closed = true;
      const isDone = await Promise.race([tail.then(() => true), pause(patienceMs, false, { ref: false })]);
      if (!isDone) await kernel.giveUpRemovals();
      await tail;
    },
  };
}

/**
 * Removes a folder that has only a few files. The kernel's Worker for removals would take 8 MB and 30 ms to
 * start for it. Returns false when the folder is another one, or not all of it could be removed.
 */
async function removeFewFiles(path: string): Promise<boolean> {
  try {
    const entries = await readdir(path, { withFileTypes: true });
    if (entries.length > fewFiles || !entries.every((entry) => entry.isFile())) return false;
    for (const { name } of entries) await unlink(`${path}/${name}`);
    await rmdir(path);
    return true;
  } catch {
    return false;
  }
}
