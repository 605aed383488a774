import { lstat, readlink } from 'node:fs/promises';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import {
  O_DIRECTORY,
  O_PATH,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  RESOLVE_NO_XDEV,
  closeFd,
  isErrno,
  kernelFileSystemApart,
  kernelFileSystemOf,
  openInRoot,
  openInRootApart,
} from '../../base/kernel/index.ts';

const flags = O_PATH | O_DIRECTORY;
const inside = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;

/** How long a command may wait for its working directory to be found in a volume, lookups of others before it included. */
const answerMs = 5_000;
/** Lookups that may hang at a time, of all containers: each holds a thread of libuv's pool, which has four. */
const mostApart = 2;
/** By container. */
const apart = new Map<string, Promise<unknown>>();
/** Names on the way of one path, links followed, that are looked at one by one. */
const mostNames = 256;

/**
 * Resolves the working directory in the mount namespace of a running container, as the runtime does a moment later, and refuses one that leads
 * into /proc: through /proc/self/fd a descriptor that the runtime holds becomes a way out (CVE-2024-21626). A link may have been changed since
 * the container was created.
 * @param input.root of the mount namespace, open
 *
 * Root may be kept out of a folder that the container's user may enter (NFS with root_squash, FUSE without allow_other). Nobody but the runtime,
 * as that user, finds out what is below it.
 * @param input.isLocal whether every mount is known to answer; otherwise volumes are looked up in a thread of their own
 * @param input.runtimeChecks whether the runtime itself refuses a working directory outside of the container: one below a folder that root may
 * not enter is then left to it, and refused otherwise
 * @throws PortcullisError RUNTIME_BAD_WORKING_DIR
 */
export async function checkWorkingDir(input: {
  readonly root: number;
  readonly cwd: string;
  readonly container: string;
  readonly isLocal: () => boolean;
  readonly runtimeChecks: boolean;
}): Promise<void> {
  const { root, cwd, container } = input;
  if (cwd === '/') return;
  let fd: number | undefined;
  try {
    // Most lie in the root file system itself, where no lookup waits for anybody.
    fd = tryOpen(root, cwd, inside | RESOLVE_NO_XDEV) ?? (input.isLocal() ? openInRoot(root, cwd, { flags, resolve: inside }) : undefined);
  } catch (thrown) {
    throw badWorkingDir(container, cwd, reasonOf(thrown));
  }
  if (fd === undefined) {
    const found = await lookUpApart(root, cwd, container);
    if (found === 'elsewhere' || (found === 'hidden' && input.runtimeChecks)) return;
    throw badWorkingDir(container, cwd, refusals[found]);
  }
  try {
    if (kernelFileSystemOf(fd) === 'proc') throw badWorkingDir(container, cwd, refusals.proc);
  } finally {
    closeFd(fd);
  }
}

const refusals = {
  proc: 'it leads into /proc',
  missing: 'it is not a folder that root can find, or leads into /proc',
  hidden: 'it is below a folder that root may not enter, and this runtime has a flaw by which a link there could lead to the host',
} as const;

/** `hidden`: below a folder that root may not enter, and not in /proc as far as root sees. */
type Whereabouts = 'elsewhere' | keyof typeof refusals;

/** Undefined where the path crosses a mount. */
function tryOpen(root: number, path: string, resolve: number): number | undefined {
  try {
    return openInRoot(root, path, { flags, resolve });
  } catch (thrown) {
    if (isErrno(thrown, 'EXDEV')) return undefined;
    throw thrown;
  }
}

/** Waits for its turn and for the answer within one limit; a lookup that gets none keeps its place until the kernel gives it up. */
async function lookUpApart(root: number, cwd: string, container: string): Promise<Whereabouts> {
  let [isLate, timer]: [boolean, NodeJS.Timeout | undefined] = [false, undefined];
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => {
      isLate = true;
      resolve('late');
    }, answerMs);
  });
  const within = `within ${answerMs / 1_000} s`;
  try {
    while (apart.has(container) || apart.size >= mostApart)
      if ((await Promise.race([...apart.values(), late])) === 'late')
        throw badWorkingDir(container, cwd, `other lookups in volumes were not answered ${within}`);
    const lookup = lookUp(root, cwd, () => isLate)
      .catch((thrown: unknown) => {
        throw badWorkingDir(container, cwd, reasonOf(thrown));
      })
      .finally(() => apart.delete(container));
    apart.set(
      container,
      lookup.catch(() => undefined),
    );
    const found = await Promise.race([lookup, late]);
    if (found === 'late') throw badWorkingDir(container, cwd, `the volume that holds it did not answer ${within}`);
    return found;
  } finally {
    clearTimeout(timer);
  }
}

async function lookUp(root: number, cwd: string, isLate: () => boolean): Promise<Whereabouts> {
  const fd = await openInRootApart(root, cwd, flags, inside);
  if (fd === undefined) return isLate() ? 'missing' : follow(root, cwd, isLate);
  try {
    return (await kernelFileSystemApart(fd)) === 'proc' ? 'proc' : 'elsewhere';
  } finally {
    closeFd(fd);
  }
}

/** Why the kernel did not find a path: name by name, since it says so to the thread alone that asked. */
async function follow(root: number, cwd: string, isLate: () => boolean): Promise<Whereabouts> {
  const ahead = namesOf(cwd).reverse();
  const done: string[] = [];
  let names = 0;
  for (let name = ahead.pop(); name !== undefined; name = ahead.pop()) {
    names += 1;
    if (names > mostNames || isLate()) return 'missing';
    if (name === '..') {
      done.pop();
      continue;
    }
    const entry = await entryAt(root, `/${done.join('/')}`, name);
    // What is below is text: no `..` may lead out of it again.
    if (entry === 'hidden') return ahead.includes('..') ? 'missing' : 'hidden';
    if (entry === 'proc' || entry === 'missing') return entry;
    if (entry === 'folder') {
      done.push(name);
      continue;
    }
    if (entry.target.startsWith('/')) done.length = 0;
    ahead.push(...namesOf(entry.target).reverse());
  }
  return 'missing';
}

const namesOf = (path: string): string[] => path.split('/').filter((name) => name !== '' && name !== '.');

/** @param path of the folder, without links */
async function entryAt(
  root: number,
  path: string,
  name: string,
): Promise<'folder' | 'hidden' | 'proc' | 'missing' | { readonly target: string }> {
  const fd = await openInRootApart(root, path, flags, inside | RESOLVE_NO_SYMLINKS);
  if (fd === undefined) return 'missing';
  try {
    if ((await kernelFileSystemApart(fd)) === 'proc') return 'proc';
    const place = `/proc/self/fd/${fd}/${name}`;
    const facts = await lstat(place);
    if (facts.isSymbolicLink()) return { target: await readlink(place).catch(() => '/proc') };
    return facts.isDirectory() ? 'folder' : 'missing';
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'EACCES' ? 'hidden' : 'missing';
  } finally {
    closeFd(fd);
  }
}

/** A working directory that is refused, at creation or before a command. */
export function badWorkingDir(container: string, cwd: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_BAD_WORKING_DIR',
    kind: 'precondition',
    attempted: `use working directory ${JSON.stringify(cwd.slice(0, 512))} in container`,
    on: container.slice(0, 13),
    why,
    fix: 'give a directory of the image or of a volume that is not reached through /proc',
  });
}
