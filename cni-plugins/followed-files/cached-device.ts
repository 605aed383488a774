import { readlinkSync } from 'node:fs';
import { basename, dirname } from 'node:path';
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
 * The device that holds a path, or the nearest folder above it that is there, by the kernel's caches. What these do not know is asked of file
 * systems that need nobody, name by name.
 * @param needsNobody of a device, as MAJOR:MINOR
 * @returns undefined: not known
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
    if (unknown === undefined || holder === undefined || !needsNobody(holder)) return unknown === undefined ? holder : undefined;
    const asks = askName(unknown);
    if (asks === 'missing') return holder;
    if (asks === 'mounted') return undefined;
    if (cachedFile(unknown, { followLink: true }) === undefined && !isLinkReadLately(unknown)) return undefined;
  }
  return undefined;
}

const mostNames = 64;

/**
 * Reads a link, and looks again: the caches do not follow one whose access time the kernel has to write first, which is so once a day
 * (mount(8), `relatime`) and for a link that nobody has followed yet.
 */
function isLinkReadLately(path: string): boolean {
  try {
    readlinkSync(path);
  } catch {
    return false;
  }
  return cachedFile(path, { followLink: true }) !== undefined;
}

/**
 * Asks the file system of a folder for a name in it, which the kernel's caches know from then on. A link is not followed, and what is mounted there is
 * not touched: the caches say nothing of it either, for the moment of a race.
 */
function askName(path: string): 'missing' | 'mounted' | 'there' {
  const folder = openFile(dirname(path), O_PATH | O_DIRECTORY);
  try {
    const fd = openInRootIfThere(folder, basename(path), { flags: O_PATH | O_NOFOLLOW, resolve: RESOLVE_NO_XDEV });
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
