import { systemError } from '../disk.ts';
import type { Inode } from '../disk.ts';
import { machine } from '../machine.ts';

/** Open descriptors, of whichever thread: the simulated daemon's and its Workers' are one process's. */
const open = new Map<number, { readonly inode: Inode; at: number }>();
let next = 1_000;

export function opened(inode: Inode): number {
  next += 1;
  open.set(next, { inode, at: 0 });
  return next;
}

export function close(fd: number): void {
  open.delete(fd);
}

export function inodeOf(fd: number, path: string): Inode {
  const found = open.get(fd);
  if (found === undefined) throw systemError('EBADF', 'use', path);
  return found.inode;
}

/** Reads on where the descriptor stands. */
export function readOn(fd: number, into: Uint8Array): number {
  const found = open.get(fd);
  if (found?.inode.kind !== 'file') throw systemError('EBADF', 'read', '');
  const bytes = Buffer.from(found.inode.text.slice(found.at, found.at + into.length), 'latin1');
  found.at += bytes.length;
  into.set(bytes);
  return bytes.length;
}

/** What a path says that leads through a descriptor. */
export function throughDescriptor(path: string): Inode | undefined {
  const fd = /^\/proc\/self\/fd\/(\d+)$/.exec(path)?.[1];
  return fd === undefined ? machine().disk.find(path) : open.get(Number(fd))?.inode;
}

/** All of an earlier life are closed. */
export function closeAll(): void {
  open.clear();
}
