import { readlinkSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

/**
 * Notes the path of each file and folder that is synced while `act` runs, by its name at that moment. The
 * files are synced as well.
 */
export async function syncedDuring(act: () => Promise<unknown>): Promise<readonly string[]> {
  const some = await open('/dev/null');
  const prototype = Object.getPrototypeOf(some) as Pick<FileHandle, 'sync'>;
  await some.close();
  const original = prototype.sync;
  const synced: string[] = [];
  prototype.sync = function note(this: FileHandle): Promise<void> {
    synced.push(readlinkSync(`/proc/self/fd/${this.fd}`));
    return original.call(this);
  };
  try {
    await act();
  } finally {
    prototype.sync = original;
  }
  return synced;
}
