import { rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { meansDiskFull } from '../../base/errors/index.ts';
import { storageFailure } from '../../base/storage/index.ts';

const signals = ['SIGHUP', 'SIGINT', 'SIGTERM'] as const;

/**
 * Calls `body` with a new folder among the temporary files, and removes it afterwards. A signal that ends the
 * process removes it too, unless the process handles the signal itself.
 * @throws PortcullisError STORAGE_DISK_FULL, and other codes of base/storage when there is no such folder
 */
export async function inTemporary<T>(prefix: string, body: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), prefix)).catch((error: unknown) => {
    throw storageFailure(error, 'create a folder for temporary files in', tmpdir());
  });
  const end = (signal: NodeJS.Signals): void => {
    forget();
    if (process.listenerCount(signal) > 0) return;
    try {
      // Content may still arrive in the folder.
      rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
    } finally {
      process.kill(process.pid, signal);
    }
  };
  const forget = (): void => {
    for (const signal of signals) process.off(signal, end);
  };
  for (const signal of signals) process.on(signal, end);
  try {
    return await body(folder);
  } catch (error) {
    throw meansDiskFull(error) ? storageFailure(error, 'write temporary files to', folder) : error;
  } finally {
    forget();
    await rm(folder, { recursive: true, force: true });
  }
}
