import { systemError } from './disk.ts';
import type { Inode } from './disk.ts';
import { machine } from './machine.ts';

/** Open descriptors of all threads: the simulated daemon and its Workers are one process. */
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

/** Reads on from the descriptor's position. */
export function readOn(fd: number, into: Uint8Array): number {
  const found = open.get(fd);
  if (found?.inode.kind !== 'file') throw systemError('EBADF', 'read', '');
  const bytes = Buffer.from(found.inode.text.slice(found.at, found.at + into.length), 'latin1');
  found.at += bytes.length;
  into.set(bytes);
  return bytes.length;
}

/** Returns the inode of a path that leads through a descriptor. */
export function throughDescriptor(path: string): Inode | undefined {
  const fd = /^\/proc\/self\/fd\/(\d+)$/.exec(path)?.[1];
  return fd === undefined ? machine().disk.find(path) : open.get(Number(fd))?.inode;
}

/** Closes all descriptors of an earlier life. */
export function closeAll(): void {
  open.clear();
}
