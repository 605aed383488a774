import { constants } from 'node:fs';
import { link, open as openFile, realpath, rm, stat, statfs } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, normalize, resolve, sep } from 'node:path';
import { errnoOf, fileReason, meansDiskFull, reasonOf } from '../../base/errors/index.ts';
import type { BoundedFiles } from './bounded-files.ts';
import { checkpointFailed } from './errors.ts';

/** The prefix of the name of an incomplete file. */
export const partialPrefix = '.portcullis-checkpoint-';

/**
 * The place of one archive: a folder that is held open, and a name in it. Each operation fails if the file
 * system does not answer (see {@link BoundedFiles}).
 */
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
  /** Closes and removes the partial file, and closes the folder. */
  close(): Promise<void>;
}

export interface DestinationOptions {
  readonly token: string;
  readonly deadline: number;
  readonly files: BoundedFiles;
}

/** Bytes (NAME_MAX). */
const maxName = 255;

/**
 * Opens the folder of an archive. The folder must be one of `folders` or below one, by its path and by its
 * real path, and neither it nor a folder above it, up to that folder, may be writable by another user than
 * root: such a user could replace the file.
 * @param location absolute path of the archive, as CheckpointContainerRequest.location
 * @param options.token part of the name of the partial file
 * @param options.deadline until when the archive may be written to the disk, as `performance.now()`
 * @throws PortcullisError RUNTIME_CHECKPOINT_LOCATION, RUNTIME_CHECKPOINT_EXISTS, and the error of
 * {@link BoundedFiles}
 */
export async function openDestination(
  location: string,
  folders: readonly string[],
  { token, deadline, files }: DestinationOptions,
): Promise<Destination> {
  const refused = (why: string, fix: string): Error =>
    checkpointFailed('RUNTIME_CHECKPOINT_LOCATION', 'invalid', { file: location }, why, fix);
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
  const wrongFolder = (cause: unknown): Error =>
    refused(
      errnoOf(cause) === 'ENOENT' ? `the folder ${dirname(location)} does not exist` : reasonOf(cause),
      'create the folder, or use a folder of `checkpoint.folders`, with the path that is written there',
    );
  // Another path may be on a file server that does not answer, and is not even looked up.
  const named = folders.filter((allowed) => isWithin(dirname(location), resolve(allowed)));
  const [top] = named;
  if (top === undefined) throw wrongFolder(outside(dirname(location)));
  const open = async (): Promise<Omit<Place, 'files' | 'top' | 'deadline'>> => {
    const folder = await allowedFolder(dirname(location), named).catch((cause: unknown) => {
      throw wrongFolder(cause);
    });
    const held = await openFile(folder, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    try {
      // The folder may have been replaced since it was checked.
      const [opened, checked] = [await held.stat(), await stat(folder)];
      if (opened.ino !== checked.ino || opened.dev !== checked.dev)
        throw refused('its folder was replaced meanwhile', 'repeat the request');
      const place = `/proc/self/fd/${held.fd}`;
      if (await exists(join(place, name))) throw alreadyExists(location);
      return { held, place, folder, name, location, partialName: `${partialPrefix}${token}` };
    } catch (thrown) {
      await held.close();
      throw thrown;
    }
  };
  const opened = await files.run(top, open, { undo: ({ held }) => held.close() });
  return destinationIn({ ...opened, files, top, deadline });
}

interface Place {
  readonly held: FileHandle;
  /** The path of the folder that is held open. */
  readonly place: string;
  readonly folder: string;
  readonly name: string;
  readonly location: string;
  readonly partialName: string;
  readonly files: BoundedFiles;
  /** The folder of the configuration. */
  readonly top: string;
  readonly deadline: number;
}

function destinationIn({ files, top, deadline, ...at }: Place): Destination {
  const partial = join(at.place, at.partialName);
  const archive = join(at.place, at.name);
  let created: FileHandle | undefined;
  const create = async (): Promise<FileHandle> => {
    created = await openFile(
      partial,
      constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
      0o600,
    ).catch((cause: unknown) => {
      throw checkpointFailed(
        'RUNTIME_CHECKPOINT_FAILED',
        meansDiskFull(cause) ? 'exhausted' : 'precondition',
        { file: at.location },
        `no file can be created in its folder: ${fileReason(cause, partial)}`,
        'check whether the folder can be changed, and whether its disk has free space',
      );
    });
    return created;
  };
  const publish = async (): Promise<void> => {
    // Unlike a rename, a link never replaces a file.
    await link(partial, archive).catch((cause: unknown) => {
      throw errnoOf(cause) === 'EEXIST' ? alreadyExists(at.location) : cause;
    });
    await rm(partial, { force: true });
    await at.held.sync();
  };
  const close = async (): Promise<void> => {
    try {
      await created?.close();
      await rm(partial, { force: true });
    } finally {
      await at.held.close();
    }
  };
  return {
    partial: join(at.folder, at.partialName),
    free: () => files.run(top, () => freeBytes(at.place)),
    create: () => files.run(top, create),
    publish: async (file) => {
      // A large archive takes longer than the answer to any other operation.
      await files.run(top, () => file.sync(), { ms: deadline - performance.now() });
      await files.run(top, publish, { undo: () => rm(archive, { force: true }) });
    },
    close: () => files.run(top, close),
  };
}

/** Returns the bytes that the file system of a folder has left. */
export async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

const outside = (path: string): Error =>
  new Error(`the folder ${path} is not below a folder of \`checkpoint.folders\``);

/** Returns the real path of a folder, which is below one of these by its path. */
async function allowedFolder(folder: string, named: readonly string[]): Promise<string> {
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
    const file = await openFile(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
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
    { file: location },
    'a file has this name, and a checkpoint never replaces one',
    'remove the file, or use another name',
  );
}
