import { constants } from 'node:fs';
import type { Disk, File, Inode } from '../disk.ts';
import { systemError } from '../disk.ts';
import { call, machine, writeWhole } from '../machine.ts';
import { close, inodeOf, opened } from '../descriptors.ts';

/** Replaces `node:fs/promises` in the image store: only the calls that it uses, on the simulated disk. */

const disk = (): Disk => machine().disk;

interface RemoveOptions {
  readonly recursive?: boolean;
  readonly force?: boolean;
}

export const mkdir = (path: string, options: { readonly recursive?: boolean } = {}): Promise<void> =>
  call(disk().find(path) === undefined ? 'write' : 'read', 'mkdir', path, () =>
    disk().makeFolder(path, options.recursive === true),
  );
export const chmod = (path: string): Promise<void> => call('read', 'chmod', path, () => void present(path));
export const chown = (path: string): Promise<void> => call('read', 'chown', path, () => void present(path));
export const access = (path: string): Promise<void> => call('read', 'access', path, () => void present(path));
export const readdir = (path: string): Promise<string[]> =>
  call('read', 'readdir', path, () => [...disk().folder(path).entries.keys()]);
export const readFile = (path: string, _encoding: 'utf8'): Promise<string> =>
  call('read', 'read', path, () => disk().file(path).text);
export const rename = (from: string, to: string): Promise<void> =>
  call('removal', 'rename', from, () => disk().rename(from, to));
export const rm = (path: string, options: RemoveOptions = {}): Promise<void> =>
  call('removal', 'rm', path, () => disk().remove(path, options));
/** Exists because `base/storage` imports it. The image store creates no file by link(2). */
export const link = (path: string): Promise<void> =>
  Promise.reject(new Error(`link(2) is not simulated: ${path}`));
export const unlink = (path: string): Promise<void> =>
  call('removal', 'unlink', path, () => disk().remove(path, {}));
export const rmdir = (path: string): Promise<void> =>
  call('removal', 'rmdir', path, () => {
    if (disk().folder(path).entries.size > 0) throw systemError('ENOTEMPTY', 'rmdir', path);
    disk().remove(path, { recursive: true });
  });
export const stat = (
  path: string,
): Promise<{ uid: number; gid: number; mode: number; size: number; isDirectory: () => boolean }> =>
  call('read', 'stat', path, () => {
    const inode = present(path);
    const size = inode.kind === 'file' ? inode.text.length : 0;
    return { uid: 0, gid: 0, mode: 0o40755, size, isDirectory: () => inode.kind === 'folder' };
  });

export const writeFile = (path: string, text: string): Promise<void> => writeWhole(path, text, false);

/** The part of a handle that the store uses. */
interface Handle {
  readonly fd: number;
  writev(parts: readonly Uint8Array[]): Promise<{ bytesWritten: number }>;
  writeFile(data: string | Uint8Array): Promise<void>;
  chmod(): Promise<void>;
  sync(): Promise<void>;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export async function open(path: string, flags: string | number = 'r'): Promise<Handle> {
  const isNew = typeof flags === 'number' && (flags & constants.O_EXCL) !== 0;
  const appends = flags === 'a' && disk().find(path) !== undefined;
  const writes = flags === 'w' || flags === 'a' || isNew;
  const inode = await call(writes ? 'write' : 'read', 'open', path, () => {
    if (writes && !appends) return disk().create(path, isNew);
    const found = disk().find(path);
    if (found === undefined) throw systemError('ENOENT', 'open', path);
    return found;
  });
  const fd = opened(inode);
  const append = (bytes: Uint8Array): Promise<number> =>
    call('write', 'write', path, () => {
      const file = inodeOf(fd, path) as File;
      disk().write(file, file.text + Buffer.from(bytes).toString('latin1'));
      return bytes.length;
    });
  const end = (): Promise<void> => {
    close(fd);
    return Promise.resolve();
  };
  return {
    fd,
    writev: async (parts) => ({ bytesWritten: await append(Buffer.concat(parts)) }),
    writeFile: async (data) => void (await append(Buffer.from(data as string))),
    chmod: () => call('read', 'chmod', path, () => undefined),
    sync: () =>
      call('write', 'fsync', path, () => {
        if (inode.kind === 'file') disk().syncFile(inode);
        else disk().syncFolder(inode);
      }),
    close: end,
    [Symbol.asyncDispose]: end,
  };
}

function present(path: string): Inode {
  const found = disk().find(path);
  if (found === undefined) throw systemError('ENOENT', 'stat', path);
  return found;
}
