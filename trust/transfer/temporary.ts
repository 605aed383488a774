import { rmSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { meansDiskFull } from '../../base/errors/index.ts';
import { openTemporaryFolder, storageFailure } from '../../base/storage/index.ts';

const signals = ['SIGHUP', 'SIGINT', 'SIGTERM'] as const;
/** Files and folders that a signal which ends the process removes. */
const temporary = new Set<string>();

/**
 * Calls `body` with a new folder among the temporary files, and removes it afterwards. A signal that ends the
 * process removes it too, unless the process handles the signal itself. A later call removes what a killed
 * process left.
 * @throws PortcullisError STORAGE_DISK_FULL, and other codes of base/storage when there is no such folder
 */
export async function inTemporary<T>(prefix: string, body: (folder: string) => Promise<T>): Promise<T> {
  const made = await openTemporaryFolder(prefix);
  // The file of the lock is none of the content.
  const folder = join(made.path, 'content');
  try {
    return await removedBySignal(made.path, async () => {
      await mkdir(folder);
      return body(folder);
    });
  } catch (error) {
    throw meansDiskFull(error) ? storageFailure(error, 'write temporary files to', folder) : error;
  } finally {
    await made.close();
  }
}

/**
 * Calls `body`. A signal that ends the process meanwhile removes this file or folder, and those of all other
 * calls, unless the process handles the signal itself.
 */
export async function removedBySignal<T>(path: string, body: () => Promise<T>): Promise<T> {
  if (temporary.size === 0) for (const signal of signals) process.on(signal, end);
  temporary.add(path);
  try {
    return await body();
  } finally {
    temporary.delete(path);
    if (temporary.size === 0) forget();
  }
}

function end(signal: NodeJS.Signals): void {
  if (process.listenerCount(signal) > 1) return;
  forget();
  try {
    // Content may still arrive in a folder.
    for (const path of temporary) rmSync(path, { recursive: true, force: true, maxRetries: 3 });
  } finally {
    process.kill(process.pid, signal);
  }
}

function forget(): void {
  for (const signal of signals) process.off(signal, end);
}
