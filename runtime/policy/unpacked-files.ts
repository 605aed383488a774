import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { tryPlainFile } from '../../base/files/index.ts';

/** Bytes of files, by their names in a folder. */
export type NamedFiles = ReadonlyMap<string, Buffer>;

/**
 * Makes a folder with exactly these files, unless it is there. The name of a complete folder appears at once,
 * or not at all. Not durable: the bytes are stored elsewhere.
 */
export async function unpackFiles(target: string, files: NamedFiles): Promise<void> {
  if ((await differenceOf(target, files)) === undefined) return;
  const fresh = `${target}.new`;
  await rm(fresh, { recursive: true, force: true });
  for (const [name, bytes] of files) {
    await mkdir(dirname(join(fresh, name)), { recursive: true, mode: 0o700 });
    await writeFile(join(fresh, name), bytes, { mode: 0o600, flag: 'wx' });
  }
  await rm(target, { recursive: true, force: true });
  await rename(fresh, target);
}

/** Returns the name of the first file that differs, is too many, or is missing; undefined: none. */
export async function differenceOf(folder: string, files: NamedFiles): Promise<string | undefined> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    if (entry.isDirectory()) continue;
    const name = relative(folder, join(entry.parentPath, entry.name));
    if (!entry.isFile() || !files.has(name)) return name;
  }
  for (const [name, bytes] of files) {
    const read = await tryPlainFile(join(folder, name), bytes.length).catch(() => undefined);
    if (read === undefined || !('bytes' in read) || !read.bytes.equals(bytes)) return name;
  }
  return undefined;
}
