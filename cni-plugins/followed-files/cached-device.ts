import { readlinkSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { meansShortage } from '../../base/errors/index.ts';
import {
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  RESOLVE_NO_XDEV,
  cachedFile,
  closeFd,
  isErrno,
  openFile,
  openInRootIfThere,
} from '../../base/kernel/index.ts';

/**
 * Returns the device of a path, or of its nearest existing parent folder, from the kernel's caches. For names
 * that the caches do not know, it asks file systems that depend on no server, name by name.
 * @param needsNobody whether a device, as MAJOR:MINOR, depends on no server
 * @returns undefined if the device is not known
 * @throws an error of the system without descriptors or memory
 */
export function deviceOf(path: string, needsNobody: (device: string) => boolean): string | undefined {
  for (let asked = 0; asked < mostNames; asked += 1) {
    let unknown: string | undefined;
    let holder: string | undefined;
    for (let at = path; holder === undefined; at = dirname(at)) {
      const found = cachedFile(at, { followLink: true });
      if (found === undefined) unknown = at;
      else if (found !== 'missing') holder = found.device;
      if (at === dirname(at)) break;
    }
    if (unknown === undefined || holder === undefined || !needsNobody(holder))
      return unknown === undefined ? holder : undefined;
    const asks = askName(unknown);
    if (asks === 'missing') return holder;
    if (asks === 'mounted') return undefined;
    if (cachedFile(unknown, { followLink: true }) === undefined && !isLinkReadLately(unknown))
      return undefined;
  }
  return undefined;
}

const mostNames = 64;

/**
 * Reads a link, and looks again: the caches do not follow one whose access time the kernel has to write
 * first, which is so once a day (mount(8), `relatime`) and for a link that nobody has followed yet.
 */
function isLinkReadLately(path: string): boolean {
  try {
    readlinkSync(path);
  } catch (thrown) {
    if (meansShortage(thrown)) throw thrown;
    return false;
  }
  return cachedFile(path, { followLink: true }) !== undefined;
}

/**
 * Looks a name up in a folder by asking its file system, so that the kernel's caches know the name
 * afterwards. It does not follow a link, and does not touch what is mounted there: at the moment of a race
 * the caches may not know a mount point either.
 */
function askName(path: string): 'missing' | 'mounted' | 'there' {
  const folder = openFile(dirname(path), O_PATH | O_DIRECTORY);
  try {
    const fd = openInRootIfThere(folder, basename(path), {
      flags: O_PATH | O_NOFOLLOW,
      resolve: RESOLVE_NO_XDEV,
    });
    if (fd === undefined) return 'missing';
    closeFd(fd);
    return 'there';
  } catch (thrown) {
    if (isErrno(thrown, 'EXDEV')) return 'mounted';
    throw thrown;
  } finally {
    closeFd(folder);
  }
}
