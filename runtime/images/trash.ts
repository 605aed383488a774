import { mkdir, readdir, rename } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import type { Kernel } from '../../base/kernel/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { errnoOf } from './failures.ts';

/** Deleting big trees takes seconds: they are renamed out of sight at once and removed in the background. */
export interface Trash {
  /** Absent: success. */
  discard(path: string): Promise<void>;
  /** Removes what an earlier run left. */
  empty(): Promise<void>;
  /** Waits for the removals under way. */
  settled(): Promise<void>;
}

export function createTrash(folder: string, kernel: Pick<Kernel, 'removeTree'>, log: Logger): Trash {
  let tail: Promise<void> = Promise.resolve();

  function remove(path: string): void {
    tail = tail.then(() =>
      kernel.removeTree(path).catch((error: unknown) => {
        // It stays in the trash folder: the next start tries again.
        log.warn({ path, error: String(error) }, 'discarded files could not be removed');
      }),
    );
  }

  return {
    async discard(path) {
      const target = `${folder}/${randomUUID()}`;
      try {
        await rename(path, target);
      } catch (thrown) {
        const errno = errnoOf(thrown);
        if (errno === 'ENOENT') return;
        // On a full disk the trash folder may have no room for another name.
        if (errno === 'ENOSPC' || errno === 'EDQUOT') return kernel.removeTree(path);
        throw thrown;
      }
      remove(target);
    },
    async empty() {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      for (const name of await readdir(folder)) remove(`${folder}/${name}`);
    },
    settled: () => tail,
  };
}
