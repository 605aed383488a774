import { constants } from 'node:fs';
import { systemError } from '../disk.ts';
import type { Disk, Inode } from '../disk.ts';
import { call, callSync, machine } from '../machine.ts';
import { close, inodeOf, opened, readOn } from '../descriptors.ts';

/**
 * Replaces `node:fs` in the image store and its Workers: only the calls that they use, on the simulated disk.
 */

const disk = (): Disk => machine().disk;

interface Looked {
  readonly size: number;
  readonly mode: number;
  isFile(): boolean;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
  isCharacterDevice(): boolean;
}

function look(inode: Inode): Looked {
  return {
    size: inode.kind === 'file' ? inode.text.length : 0,
    mode: inode.kind === 'file' ? 0o100644 : 0o40755,
    isFile: () => inode.kind === 'file',
    isDirectory: () => inode.kind === 'folder',
    isSymbolicLink: () => false,
    isCharacterDevice: () => false,
  };
}

function required(path: string): Inode {
  const found = disk().find(path);
  if (found === undefined) throw systemError('ENOENT', 'lstat', path);
  return found;
}

export { constants };
export const existsSync = (path: string): boolean => disk().find(path) !== undefined;
export const linkSync = (from: string, to: string): void =>
  callSync('write', 'link', to, () => disk().link(from, to));
export const renameSync = (from: string, to: string): void =>
  callSync('removal', 'rename', from, () => disk().rename(from, to));
export const rmSync = (
  path: string,
  options: { readonly recursive?: boolean; readonly force?: boolean } = {},
): void => callSync('removal', 'rm', path, () => disk().remove(path, options));
export const readFileSync = (path: string, _encoding: 'utf8'): string =>
  callSync('read', 'read', path, () => disk().file(path).text);
export const openSync = (path: string): number =>
  callSync('read', 'open', path, () => opened(required(path)));
export const fstatSync = (fd: number): Looked => look(inodeOf(fd, ''));
export const readSync = (fd: number, into: Uint8Array): number => readOn(fd, into);
export const closeSync = (fd: number): void => close(fd);
/** Reads a file from its beginning up to the byte at `end`, in one piece. */
export async function* createReadStream(
  path: string,
  { end }: { readonly end: number },
): AsyncGenerator<Uint8Array> {
  yield await call('read', 'read', path, () =>
    Buffer.from(
      disk()
        .file(path)
        .text.slice(0, end + 1),
      'latin1',
    ),
  );
}
export function lstatSync(
  path: string,
  options: { readonly throwIfNoEntry?: boolean } = {},
): Looked | undefined {
  return callSync('read', 'lstat', path, () => {
    const found = disk().find(path);
    if (found === undefined && options.throwIfNoEntry !== false) throw systemError('ENOENT', 'lstat', path);
    return found === undefined ? undefined : look(found);
  });
}
export function readlinkSync(path: string): string {
  throw systemError('EINVAL', 'readlink', path);
}
export function writeSync(): number {
  throw systemError('EBADF', 'write', '');
}
