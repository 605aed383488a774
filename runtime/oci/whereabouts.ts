import { lstatSync, readlinkSync } from 'node:fs';
import { append } from '../../base/lists/index.ts';
import {
  O_DIRECTORY,
  O_PATH,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  closeFd,
  kernelFileSystemOf,
  leavesUnknown,
  openInRoot,
} from '../../base/kernel/index.ts';

/**
 * Where a folder of a container lies: in `proc`, or `elsewhere`. `hidden`: below a folder that root may not enter, and not in /proc as far as
 * root sees. `missing`: root cannot find it, or it leads into /proc by a link of the kernel.
 */
export type Whereabouts = 'elsewhere' | 'hidden' | 'missing' | 'proc';

const flags = O_PATH | O_DIRECTORY;
const inside = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
/** Names on the way of one path, links followed, that are looked at one by one. */
const mostNames = 256;

/**
 * Synchronous, and as slow as the file systems on the way.
 * @param root of the container's mount namespace, open
 * @param folder as the container sees it
 */
export function whereaboutsOf(root: number, folder: string): Whereabouts {
  const found = at(root, folder, inside, (fd) => (kernelFileSystemOf(fd) === 'proc' ? 'proc' : 'elsewhere'));
  return found ?? follow(root, folder);
}

/** Undefined where it cannot be opened. */
function at<T>(root: number, path: string, resolve: number, look: (fd: number) => T): T | undefined {
  let fd: number;
  try {
    fd = openInRoot(root, path, { flags, resolve });
  } catch (thrown) {
    if (leavesUnknown(thrown)) throw thrown;
    return undefined;
  }
  try {
    return look(fd);
  } finally {
    closeFd(fd);
  }
}

/** Why the kernel did not find a path: name by name, since an EACCES does not say how far it came. */
function follow(root: number, path: string): Whereabouts {
  const ahead = namesOf(path).reverse();
  const done: string[] = [];
  let names = 0;
  for (let name = ahead.pop(); name !== undefined; name = ahead.pop()) {
    names += 1;
    if (names > mostNames) return 'missing';
    if (name === '..') {
      done.pop();
      continue;
    }
    const entry = entryAt(root, `/${done.join('/')}`, name);
    // What is below is text: no `..` may lead out of it again.
    if (entry === 'hidden') return ahead.includes('..') ? 'missing' : 'hidden';
    if (entry === 'proc' || entry === 'missing') return entry;
    if (entry === 'folder') {
      done.push(name);
      continue;
    }
    if (entry.target.startsWith('/')) done.length = 0;
    append(ahead, namesOf(entry.target).reverse());
  }
  return 'missing';
}

const namesOf = (path: string): string[] => path.split('/').filter((name) => name !== '' && name !== '.');

type Entry = 'folder' | 'hidden' | 'proc' | 'missing' | { readonly target: string };

/** @param folder without links */
function entryAt(root: number, folder: string, name: string): Entry {
  const look = (fd: number): Entry => {
    if (kernelFileSystemOf(fd) === 'proc') return 'proc';
    const place = `/proc/self/fd/${fd}/${name}`;
    try {
      const facts = lstatSync(place);
      if (facts.isSymbolicLink()) return { target: linkTarget(place) };
      return facts.isDirectory() ? 'folder' : 'missing';
    } catch (thrown) {
      if (leavesUnknown(thrown)) throw thrown;
      return (thrown as NodeJS.ErrnoException).code === 'EACCES' ? 'hidden' : 'missing';
    }
  };
  return at(root, folder, inside | RESOLVE_NO_SYMLINKS, look) ?? 'missing';
}

/** One that cannot be read counts as a way into /proc. */
function linkTarget(place: string): string {
  try {
    return readlinkSync(place);
  } catch {
    return '/proc';
  }
}
