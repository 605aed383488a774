import { readdir, stat } from 'node:fs/promises';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { isWithin, readPlainFile } from '../../base/files/index.ts';
import { rootFolder } from '../sigstore/root-cache.ts';
import { mostArchiveBytes } from './archive.ts';
import type { ReleaseFiles } from './archive.ts';
import { releaseFailure } from './failure.ts';

/** A loaded policy, as far as a release needs to know its files. */
export interface LoadedFiles {
  /** The policy files, and the files and folders that they refer to. */
  readonly files: readonly string[];
  /** Caches of roots that a node updates itself: no part of a release. */
  readonly tufRoots: readonly { readonly url: string; readonly cache: string }[];
}

/** Returns the files of a policy that no folder contains. Caches of roots do not count. */
export function filesOutside(folder: string, { files, tufRoots }: LoadedFiles): readonly string[] {
  // The policy names the cache. Only the folder of this repository in it does not count.
  const caches = tufRoots.map(({ url, cache }) => rootFolder(resolve(cache), url));
  return files.filter((file) => {
    const path = resolve(file);
    if (caches.some((cache) => isWithin(path, cache))) return false;
    return !isWithin(path, resolve(folder));
  });
}

/**
 * Reads every file that a policy consists of, by its name in the folder.
 * @param path the folder of the policy, or its only file
 * @throws TRUST_RELEASE_OUTSIDE when the policy refers to a file elsewhere, TRUST_RELEASE_MALFORMED when the
 * files are too large
 */
export async function collectRelease(path: string, loaded: LoadedFiles): Promise<ReleaseFiles> {
  const given = resolve(path);
  const folder = (await stat(given)).isDirectory() ? given : dirname(given);
  const outside = filesOutside(folder, loaded);
  if (outside[0] !== undefined)
    throw releaseFailure('TRUST_RELEASE_OUTSIDE', outside[0], `it is not in ${folder}`);
  const files = new Map<string, Buffer>();
  let bytes = 0;
  for (const one of loaded.files.map((file) => resolve(file)).filter((file) => isWithin(file, folder))) {
    for (const file of await filesAt(one)) {
      const read = await readPlainFile(file, mostArchiveBytes);
      const name = relative(folder, file).split(sep).join('/');
      if (!files.has(name)) bytes += read.length;
      if (bytes > mostArchiveBytes)
        throw releaseFailure(
          'TRUST_RELEASE_MALFORMED',
          folder,
          `its files have more than ${mostArchiveBytes} bytes`,
        );
      files.set(name, read);
    }
  }
  return files;
}

/** Returns a file, or the files of a folder of certificates; hidden ones are not read by a policy. */
async function filesAt(path: string): Promise<readonly string[]> {
  if (!(await stat(path)).isDirectory()) return [path];
  const entries = await readdir(path, { withFileTypes: true });
  return entries
    .filter((entry) => !entry.name.startsWith('.') && !entry.isDirectory())
    .map(({ name }) => join(path, name));
}
