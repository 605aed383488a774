import { lstatSync, readlinkSync } from 'node:fs';
import { leavesUnknown } from '../../base/errors/index.ts';
import { append } from '../../base/lists/index.ts';
import {
  O_DIRECTORY,
  O_PATH,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  closeFd,
  kernelFileSystemOf,
  openInRoot,
} from '../../base/kernel/index.ts';

/**
 * Where a folder of a container lies: in `proc`, or `elsewhere`. `hidden`: below a folder that root may not
 * enter, and not in /proc as far as root can see. `missing`: root cannot find it, or a link of the kernel
 * leads into /proc.
 */
export type Whereabouts = 'elsewhere' | 'hidden' | 'missing' | 'proc';

const flags = O_PATH | O_DIRECTORY;
const inside = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
/** The maximum number of names of one path, with links followed, that are looked up one by one. */
const mostNames = 256;

/**
 * Finds where a folder lies. Synchronous, and as slow as the file systems on the way.
 * @param root of the container's mount namespace, open
 * @param folder as the container sees it
 */
export function whereaboutsOf(root: number, folder: string): Whereabouts {
  const found = at(root, folder, inside, (fd) => (kernelFileSystemOf(fd) === 'proc' ? 'proc' : 'elsewhere'));
  return found ?? follow(root, folder);
}

/** Returns undefined when the path cannot be opened. */
function at<T>(root: number, path: string, resolve: number, look: (fd: number) => T): T | undefined {
  let fd: number;
  try {
    fd = openInRoot(root, path, { flags, resolve });
  } catch (thrown) {
    if (leavesUnknown(thrown)) throw thrown;
    return undefined;
  }
  using opened = new DisposableStack();
  opened.defer(() => closeFd(fd));
  return look(fd);
}

/**
 * Finds why the kernel did not find a path. Looks up one name after the other, because an EACCES does not say
 * at which name it happened.
 */
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
    // The rest of the path is only text, so a `..` may not lead out of it again.
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

/** Returns the target of a link. A link that cannot be read counts as a way into /proc. */
function linkTarget(place: string): string {
  try {
    return readlinkSync(place);
  } catch {
    return '/proc';
  }
}
