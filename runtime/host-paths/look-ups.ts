import { closeSync, constants, fchmodSync, open as openByCallback, openSync, readlinkSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { lstat, open, readdir, readlink, realpath, rename, rm, rmdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { meansGone, meansNoSuchPath, meansShortage } from '../../base/errors/index.ts';
import type { CachedFile } from '../../base/kernel/index.ts';
import type { ContainerPlan } from '../container-mounts/created-container.ts';
import type { AskedPlace } from '../container-mounts/command-paths-check.ts';
import { readPartText, readText } from './file-text.ts';
import { folderContents, folderFiles } from './folder-files.ts';

/** Returns a descriptor, which is closed at once and not in a thread. */
const openFile = promisify(openByCallback);

/** The file at a path, with links followed; or the link itself where it is not followed. */
export type PathFacts = CachedFile;

function factsAt(path: string, stat: BigIntStats): PathFacts {
  const [major, minor] = deviceNumbers(stat.rdev);
  return {
    path,
    mode: Number(stat.mode),
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    size: Number(stat.size),
    ...{ major, minor },
    device: deviceNumbers(stat.dev).join(':'),
    inode: stat.ino.toString(),
  };
}

/** The encoding of dev_t: sys/sysmacros.h. */
function deviceNumbers(device: bigint): [number, number] {
  return [
    Number(((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xfffff000n)),
    Number((device & 0xffn) | ((device >> 12n) & 0xffffff00n)),
  ];
}

function unlessMissing(thrown: unknown): undefined {
  if (meansNoSuchPath(thrown)) return undefined;
  throw thrown;
}

/**
 * All operations on a path that a pod names, or that may be on a file system which the daemon does not
 * control. Each may wait as long as that file system does not answer, so only a process that may hang calls
 * them (look-up.worker.ts). Errors are those of the system: `code` is the errno.
 */
export const lookUps = {
  facts: async (path: string): Promise<PathFacts> => {
    const real = await realpath(path);
    return factsAt(real, await stat(real, { bigint: true }));
  },
  ownFacts,
  linkTarget: (path: string): Promise<string> => readlink(path),
  names: (folder: string): Promise<string[]> => readdir(folder),
  folderFiles,
  folderContents: (folder: string, names: readonly string[], limit: number) =>
    folderContents(folder, names, (path) => readText(path, limit, 'latin1')),
  text: (path: string, limit: number) => readText(path, limit, 'utf8'),
  filePart: readPartText,
  /** Creates the folder and the folders above it. @returns the uppermost folder that was created */
  makeFolder: async (path: string, mode: number): Promise<string | undefined> => {
    // Imported only here, because it loads the database of base/storage as well.
    const { makeFolder } = await import('../../base/storage/index.ts');
    return makeFolder(path, mode);
  },
  makeFile,
  setFileMode,
  moveFile,
  renameBeside,
  removeFile,
  makeReplaceable,
  removeEmptyLog,
  openedBy,
  inheritance,
  /**
   * Checks whether a source can be mounted with its ids mapped by a user namespace. @throws PortcullisError
   * as checkIdmap of base/kernel
   */
  /** @throws PortcullisError as checkPlace of runtime/container-mounts */
  checkPlace: async (asked: AskedPlace): Promise<void> => {
    const { checkPlace } = await import('../container-mounts/command-paths-check.ts');
    checkPlace(asked);
  },
  /** @throws PortcullisError as checkMadeContainer of runtime/container-mounts */
  checkMadeContainer: async (container: string, init: number, plan: ContainerPlan): Promise<void> => {
    const { checkMadeContainer, mountsOf } = await import('../container-mounts/created-container.ts');
    checkMadeContainer(container, init, plan, mountsOf(container, init));
  },
  checkIdmap: async (path: string, userNamespace: string): Promise<void> => {
    const { checkIdmap } = await import('../../base/kernel/index.ts');
    checkIdmap(path, userNamespace);
  },
};

/**
 * Calls `body` with a path that leads to this folder, whatever is put in its place meanwhile.
 * @param folder a real path
 * @throws Error ELOOP when a link is in place of a part of the path
 */
async function inRealFolder<T>(folder: string, body: (at: string) => Promise<T>): Promise<T> {
  // Not in a thread: a container waits for it, and the kernel has just looked up the path.
  using opened = new DisposableStack();
  const fd = opened.adopt(openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY), closeSync);
  const at = `/proc/self/fd/${fd}`;
  if (readlinkSync(at) !== folder)
    throw Object.assign(new Error(`ELOOP: a link is in place of a folder of ${JSON.stringify(folder)}`), {
      code: 'ELOOP',
    });
  return await body(at);
}

/** Moves a file of the daemon to a path on the same mount. @param to with the real path of the folder */
export function moveFile(from: string, to: string): Promise<void> {
  return inRealFolder(dirname(to), (at) => rename(from, join(at, basename(to))));
}

/** Gives a file another name in its folder. @param path with the real path of the folder */
function renameBeside(path: string, name: string): Promise<void> {
  return inRealFolder(dirname(path), (at) => rename(join(at, basename(path)), join(at, name)));
}

/** Removes a file. Absent: success. @param path with the real path of the folder */
async function removeFile(path: string): Promise<void> {
  await inRealFolder(dirname(path), (at) => rm(join(at, basename(path)), { force: true })).catch(
    unlessMissing,
  );
}

/** Returns the facts of a link itself. */
export async function ownFacts(path: string): Promise<PathFacts> {
  return factsAt(path, await lstat(path, { bigint: true }));
}

/** Returns the {@link inheritanceOf} a folder, or of the nearest existing folder above it. */
export async function inheritance(path: string): Promise<string> {
  const { inheritanceOf } = await import('../../base/kernel/index.ts');
  for (let folder = path; ; folder = dirname(folder))
    try {
      return inheritanceOf(folder);
    } catch (thrown) {
      if (!meansNoSuchPath(thrown) || folder === dirname(folder)) throw thrown;
    }
}

/**
 * Creates an empty file, regardless of the umask. An existing file stays unchanged.
 * @param path with the real path of the folder
 */
export function makeFile(path: string, mode: number): Promise<void> {
  return inRealFolder(dirname(path), (at) => makeFileAt(join(at, basename(path)), mode));
}

async function makeFileAt(path: string, mode: number): Promise<void> {
  const file = await openFile(path, 'wx', mode).catch((thrown: unknown) => {
    if ((thrown as NodeJS.ErrnoException).code === 'EEXIST') return undefined;
    throw thrown;
  });
  if (file === undefined) return;
  using opened = new DisposableStack();
  opened.defer(() => closeSync(file));

  // Not in a thread, and neither is the close: the file is new and empty, and a container waits for it.
  fchmodSync(file, mode);
}

/** Sets the mode of a regular file; never follows a link. @param path with the real path of the folder */
function setFileMode(path: string, mode: number): Promise<void> {
  return inRealFolder(dirname(path), async (at) => {
    await using file = await open(
      join(at, basename(path)),
      constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY | constants.O_NOFOLLOW,
    );
    if ((await file.stat()).isFile()) await file.chmod(mode);
  });
}

/**
 * Lets the folder of a file grow by one name now, if it has no room for it. The name is longer than that of
 * the log, so the log's name fits where it was. A program that follows the log would take a file with the
 * log's own name for the new log, and would read the first lines again when the monitor replaces it.
 */
async function makeRoomBeside(by: string, mode: number): Promise<void> {
  const room = `${by}.room`;
  try {
    await makeFileAt(room, mode);
  } finally {
    await rm(room, { force: true });
  }
}

/**
 * Creates `by` if it is missing, opens it for writing, and makes room for the name of `path`. If that fails,
 * removes the file that it created.
 * @param path in the same folder as `by`, with the real path of this folder
 */
function makeReplaceable(path: string, by: string, mode: number): Promise<void> {
  return inRealFolder(dirname(path), (at) =>
    makeReplaceableAt(join(at, basename(path)), join(at, basename(by)), mode),
  );
}

async function makeReplaceableAt(path: string, by: string, mode: number): Promise<void> {
  const isMissing = (await lstat(path).catch(unlessMissing)) === undefined;
  const wasMissing = (await lstat(by).catch(unlessMissing)) === undefined;
  try {
    const file = await open(
      by,
      constants.O_WRONLY |
        constants.O_CREAT |
        constants.O_NONBLOCK |
        constants.O_NOCTTY |
        constants.O_NOFOLLOW,
      mode,
    );
    try {
      if (!(await file.stat()).isFile())
        throw Object.assign(new Error(`not a plain file, ${JSON.stringify(by)}`), { code: 'EEXIST' });
      await file.chmod(mode);
    } finally {
      await file.close();
    }
    if (isMissing) await makeRoomBeside(by, mode);
    else if ((await lstat(path)).isDirectory())
      throw Object.assign(new Error(`is a folder, ${JSON.stringify(path)}`), { code: 'EISDIR' });
  } catch (thrown) {
    if (wasMissing) await rm(by, { force: true }).catch(() => undefined);
    throw thrown;
  }
}

/**
 * Removes a log to which nothing was written, and the folders that were created for it.
 * @param log with the real path of its folder, of which `uppermost` is a part
 */
async function removeEmptyLog(log: string, uppermost: string | undefined): Promise<void> {
  await inRealFolder(dirname(log), async (at) => {
    const file = join(at, basename(log));
    if ((await lstat(file).catch(unlessMissing))?.size === 0) await rm(file, { force: true });
  }).catch(unlessMissing);
  for (
    let folder = dirname(log);
    uppermost !== undefined && folder.startsWith(uppermost);
    folder = dirname(folder)
  )
    await inRealFolder(dirname(folder), (at) => rmdir(join(at, basename(folder)))).catch(() => undefined);
}

/** Returns an identifier of the file at a path, and whether a process has the file open. */
async function openedBy(
  path: string,
  pid: number,
): Promise<{ readonly file?: string; readonly isOpen: boolean }> {
  const identifierOf = ({ dev, ino }: BigIntStats): string => `${dev}:${ino}`;
  const fileAt = (place: string): Promise<string | undefined> =>
    stat(place, { bigint: true }).then(identifierOf, unlessMissing);
  // A link is not the file to which it leads: the log of a container is never a link.
  const file = await lstat(path, { bigint: true }).then(identifierOf, unlessMissing);
  if (file === undefined) return { isOpen: false };
  const folder = `/proc/${pid}/fd`;
  const names = await readdir(folder).catch((thrown: unknown) => {
    if (meansGone(thrown)) return [];
    throw thrown;
  });
  const other = (thrown: unknown): undefined => {
    // An open log that is not found would be replaced by an empty one. Other files of the process may be on
    // file systems that fail.
    if (meansShortage(thrown)) throw thrown;
  };
  const open = await Promise.all(names.map((name) => fileAt(join(folder, name)).catch(other)));
  return { file, isOpen: open.includes(file) };
}

export type LookUps = typeof lookUps;
