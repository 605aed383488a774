import { constants } from 'node:fs';
import { open, link, realpath, rm, stat, statfs } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, normalize, resolve, sep } from 'node:path';
import { errnoOf, fileReason, meansDiskFull, reasonOf } from '../../base/errors/index.ts';
import { checkpointFailed } from './errors.ts';

/** The prefix of the name of an incomplete file. */
export const partialPrefix = '.portcullis-checkpoint-';

/** The place of one archive: a folder that is held open, and a name in it. */
export interface Destination {
  /** The path of the file that is written first. */
  readonly partial: string;
  /** Bytes that the file system of the folder has left for root. */
  free(): Promise<number>;
  /**
   * Creates the partial file, mode 0600, for writing.
   * @throws PortcullisError RUNTIME_CHECKPOINT_FAILED
   */
  create(): Promise<FileHandle>;
  /**
   * Renames the partial file to the archive, durably. If a file with this name has appeared meanwhile, it
   * stays.
   * @throws PortcullisError RUNTIME_CHECKPOINT_EXISTS
   */
  publish(file: FileHandle): Promise<void>;
  /** Removes the partial file, and closes the folder. */
  close(): Promise<void>;
}

/** Bytes (NAME_MAX). */
const maxName = 255;

/**
 * Opens the folder of an archive. The folder must be one of `folders` or below one, by its path and by its
 * real path, and neither it nor a
 * folder above it, up to that folder, may be writable by another user than root: such a user could replace
 * the file.
 * @param location absolute path of the archive, as CheckpointContainerRequest.location
 * @param token part of the name of the partial file
 * @throws PortcullisError RUNTIME_CHECKPOINT_LOCATION, RUNTIME_CHECKPOINT_EXISTS
 */
export async function openDestination(
  location: string,
  folders: readonly string[],
  token: string,
): Promise<Destination> {
  const refused = (why: string, fix: string): Error =>
    checkpointFailed('RUNTIME_CHECKPOINT_LOCATION', 'invalid', JSON.stringify(location), why, fix);
  const name = basename(location);
  if (!isAbsolute(location) || normalize(location) !== location || location.includes('\0'))
    throw refused('the location is not an absolute path without `..`', 'use the path of a new file');
  if (
    name === '' ||
    location.endsWith(sep) ||
    Buffer.byteLength(name) > maxName ||
    name.startsWith(partialPrefix)
  )
    throw refused('the location has no usable file name', 'use the path of a new file');
  const folder = await allowedFolder(dirname(location), folders).catch((cause: unknown) => {
    throw refused(
      reasonOf(cause),
      'create the folder, or use a folder of `checkpoint.folders`, with the path that is written there',
    );
  });
  const held = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    // The folder may have been replaced since it was checked.
    const [opened, checked] = [await held.stat(), await stat(folder)];
    if (opened.ino !== checked.ino || opened.dev !== checked.dev)
      throw refused('its folder was replaced meanwhile', 'repeat the request');
    const place = `/proc/self/fd/${held.fd}`;
    if (await exists(join(place, name))) throw alreadyExists(location);
    return destinationIn({ held, place, folder, name, location, partialName: `${partialPrefix}${token}` });
  } catch (thrown) {
    await held.close();
    throw thrown;
  }
}

function destinationIn(at: {
  readonly held: FileHandle;
  readonly place: string;
  readonly folder: string;
  readonly name: string;
  readonly location: string;
  readonly partialName: string;
}): Destination {
  const partial = join(at.place, at.partialName);
  return {
    partial: join(at.folder, at.partialName),
    free: () => freeBytes(at.place),
    create: () =>
      open(
        partial,
        constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
        0o600,
      ).catch((cause: unknown) => {
        throw checkpointFailed(
          'RUNTIME_CHECKPOINT_FAILED',
          meansDiskFull(cause) ? 'exhausted' : 'precondition',
          JSON.stringify(at.location),
          `no file can be created in its folder: ${fileReason(cause, partial)}`,
          'check whether the folder can be changed, and whether its disk has free space',
        );
      }),
    publish: async (file) => {
      await file.sync();
      // Unlike a rename, a link never replaces a file.
      await link(partial, join(at.place, at.name)).catch((cause: unknown) => {
        throw errnoOf(cause) === 'EEXIST' ? alreadyExists(at.location) : cause;
      });
      await rm(partial, { force: true });
      await at.held.sync();
    },
    close: async () => {
      // oxlint-disable-next-line typescript/no-misused-promises -- finally waits for the promise
      await rm(partial, { force: true }).finally(() => at.held.close());
    },
  };
}

/** Returns the bytes that the file system of a folder has left. */
export async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

async function allowedFolder(folder: string, folders: readonly string[]): Promise<string> {
  const outside = (path: string): Error =>
    new Error(`the folder ${path} is not below a folder of \`checkpoint.folders\``);
  // Another path may be on a file server that does not answer, and would block a thread of libuv's pool.
  const named = folders.filter((allowed) => isWithin(folder, resolve(allowed)));
  if (named.length === 0) throw outside(folder);
  const real = await realpath(folder);
  for (const allowed of named) {
    const top = await realpath(allowed).catch(() => undefined);
    if (top === undefined || !isWithin(real, top)) continue;
    for (let at = real; ; at = dirname(at)) {
      const { uid, mode } = await stat(at);
      if (uid !== 0 || (mode & 0o022) !== 0)
        throw new Error(`a user other than root can change the folder ${at}`);
      if (at === top) return real;
    }
  }
  throw outside(real);
}

const isWithin = (path: string, top: string): boolean =>
  path === top || path.startsWith(top === sep ? sep : top + sep);

async function exists(path: string): Promise<boolean> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    await file.close();
    return true;
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT') return false;
    // A link, a socket, or any other file with this name.
    return true;
  }
}

function alreadyExists(location: string): Error {
  return checkpointFailed(
    'RUNTIME_CHECKPOINT_EXISTS',
    'already-exists',
    JSON.stringify(location),
    'a file has this name, and a checkpoint never replaces one',
    'remove the file, or use another name',
  );
}
