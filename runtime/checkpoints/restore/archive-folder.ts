import { constants } from 'node:fs';
import { copyFile, open, readdir, stat } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import {
  O_DIRECTORY,
  O_PATH,
  RESOLVE_BENEATH,
  RESOLVE_NO_SYMLINKS,
  closeFd,
  openInRootIfThere,
  openFile,
} from '../../../base/kernel/index.ts';
import { badArchive } from './errors.ts';

/** The archive of a checkpoint, as the mounted tree of an image. Nothing in it is followed or executed. */
export interface ArchiveFolder {
  /** Names of the files in the folder `checkpoint`. */
  readonly images: readonly string[];
  size(name: string): Promise<number>;
  /** @throws PortcullisError RUNTIME_RESTORE_ARCHIVE if the file is longer than `most`, or no regular file */
  read(name: string, most: number): Promise<Buffer>;
  has(name: string): boolean;
  copy(name: string, to: string): Promise<void>;
  /** Opens a file for reading. */
  open(name: string): Promise<FileHandle>;
  close(): void;
}

/** More images than a container with a thousand processes has. */
const mostImages = 16_384;

/**
 * Opens the archive in a folder. Names are resolved without symbolic links, and only regular files are
 * opened, because an archive may contain links, devices and FIFOs.
 * @param on names the archive in errors
 * @throws PortcullisError RUNTIME_RESTORE_ARCHIVE
 */
export async function openArchiveFolder(folder: string, on: string): Promise<ArchiveFolder> {
  const root = openFile(folder, O_PATH | O_DIRECTORY);
  const find = (name: string, flags: number): number | undefined =>
    openInRootIfThere(root, name, { flags, resolve: RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS });
  const openRegular = async (name: string): Promise<FileHandle> => {
    // First without opening it: opening a device or a FIFO has effects.
    const found = orBad(() => find(name, O_PATH), on, name);
    if (found === undefined) throw badArchive(on, `the archive has no file ${name}`);
    using opened = new DisposableStack();
    opened.defer(() => closeFd(found));
    const path = `/proc/self/fd/${found}`;
    if (!(await stat(path)).isFile()) throw badArchive(on, `${name} is not a regular file`);
    return await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  };
  const list = async (): Promise<string[]> => {
    const images = orBad(() => find('checkpoint', O_PATH | O_DIRECTORY), on, 'checkpoint');
    if (images === undefined) throw badArchive(on, 'the archive has no folder checkpoint');
    using opened = new DisposableStack();
    opened.defer(() => closeFd(images));
    const names = await readdir(`/proc/self/fd/${images}`);
    if (names.length > mostImages) throw badArchive(on, `the archive has more than ${mostImages} images`);
    return names;
  };
  try {
    const images = await list();
    return {
      images,
      size: async (name) => {
        await using file = await openRegular(name);
        return (await file.stat()).size;
      },
      read: async (name, most) => {
        await using file = await openRegular(name);
        const { size } = await file.stat();
        if (size > most) throw badArchive(on, `${name} has ${size} bytes, and at most ${most} are allowed`);
        const { buffer, bytesRead } = await file.read(Buffer.alloc(size), 0, size, 0);
        if (bytesRead !== size) throw badArchive(on, `${name} is cut off`);
        return buffer;
      },
      has: (name) => {
        const found = orBad(() => find(name, O_PATH), on, name);
        if (found !== undefined) closeFd(found);
        return found !== undefined;
      },
      copy: async (name, to) => {
        await using file = await openRegular(name);
        await copyFile(`/proc/self/fd/${file.fd}`, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
      },
      open: openRegular,
      close: () => {
        closeFd(root);
      },
    };
  } catch (thrown) {
    closeFd(root);
    throw thrown;
  }
}

/** A name that leads through a link, or out of the folder, is the fault of the archive. */
function orBad<Value>(find: () => Value, on: string, name: string): Value {
  try {
    return find();
  } catch (cause) {
    throw badArchive(on, `${name} cannot be opened: ${String(cause)}`);
  }
}
