import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { reasonOf } from '../../base/errors/index.ts';
import { errnoOf, imageError } from './limits/failures.ts';
import type { LayerPool } from './layer-workers/layer-pool.ts';

/**
 * Detects whether the disk keeps the writes to the store. The kernel reports a lost write once to each
 * descriptor of the file system that was open then, and to a later one only when no program has received the
 * error (Linux, Documentation/core-api/errseq.rst). So the store keeps one descriptor open from its opening
 * to its end, and a failure invalidates all content in progress, whichever pull receives it.
 */
export interface StoreSync {
  /**
   * Grows with each failure. Content remembers it before its first byte is written, and is invalid in a later
   * era.
   */
  era(): number;
  /**
   * Resolves when all content that was begun in this era is on the disk. One call at a time.
   * @throws IMAGES_NOT_DURABLE, IMAGES_DISK_FULL
   */
  flush(): Promise<void>;
  close(): Promise<void>;
}

export async function openStoreSync(root: string, pool: Pick<LayerPool, 'sync'>): Promise<StoreSync> {
  const handle = await open(root, constants.O_RDONLY | constants.O_DIRECTORY);
  let era = 0;
  return {
    era: () => era,
    async flush() {
      try {
        await pool.sync(handle.fd, root);
      } catch (thrown) {
        // Also if it is unknown whether the sync took effect, because the kernel reports an error only once.
        era++;
        throw notDurable(root, reasonOf(thrown), thrown);
      }
    },
    close: () => handle.close(),
  };
}

/** Returns the error for content that was in progress when writes were lost. */
export function notDurable(root: string, why: string, cause?: unknown): Error {
  const errno = errnoOf(cause);
  const isFull = errno === 'ENOSPC' || errno === 'EDQUOT';
  return imageError({
    code: isFull ? 'IMAGES_DISK_FULL' : 'IMAGES_NOT_DURABLE',
    kind: isFull ? 'exhausted' : 'unavailable',
    attempted: 'write content to the disk of image store',
    on: root,
    why,
    fix: isFull
      ? 'free space or remove images, then pull again'
      : 'pull again; if it repeats, check the disk (dmesg)',
    cause,
  });
}
