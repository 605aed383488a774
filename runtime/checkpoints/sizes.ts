import { lstat, readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { meansNoSuchPath } from '../../base/errors/index.ts';

/**
 * Returns the bytes of memory, swapped or not, of some processes: about the size of their images. A page that
 * processes share counts for each, as criu writes it for each (proc(5), /proc/pid/status).
 */
export async function memoryBytes(pids: readonly number[]): Promise<number> {
  let kib = 0;
  for (const pid of pids) {
    const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
    for (const [, amount] of status.matchAll(/^Vm(?:RSS|Swap):\s*(\d+) kB$/gm)) kib += Number(amount);
  }
  return kib * 1024;
}

/** Returns the bytes that the files in a folder and below it occupy. Files that disappear are not counted. */
export async function folderBytes(folder: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(folder, { withFileTypes: true }).catch(unlessGone)) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) bytes += await folderBytes(path);
    else bytes += (await lstat(path).catch(unlessGone)).blocks * 512;
  }
  return bytes;
}

function unlessGone(cause: unknown): never[] & { readonly blocks: number } {
  if (!meansNoSuchPath(cause)) throw cause;
  return Object.assign([], { blocks: 0 });
}
