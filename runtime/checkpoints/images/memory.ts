import { BadImage } from './strict-message.ts';
import type { Message } from './strict-message.ts';

/**
 * The kinds of mappings that a restore makes (criu, include/image.h): plain memory, files, stacks, and what
 * the kernel itself maps. Not: System V segments, sockets, rings of asynchronous I/O, memory files.
 */
const plainStatus = [0, 1, 2, 3, 5, 6, 7, 8, 9, 12].reduce((bits, bit) => bits | (1 << bit), 0);
const fileStatus = (1 << 6) | (1 << 7);

/** The files that the memory of a process refers to. */
export interface MappedFiles {
  /** Ids of `files.img`: the program, and the mapped files. */
  readonly files: readonly number[];
}

/**
 * Reads the memory map of a process.
 * @param map an image of the kind `mm`
 * @throws BadImage if a mapping is not of a plain kind
 */
export function readMappedFiles(pid: number, map: Message): MappedFiles {
  if ((map['aios'] as readonly unknown[]).length > 0)
    throw new BadImage(`mm: process ${pid} has a ring of asynchronous I/O`);
  const files = new Set([Number(map['exeFileId'])]);
  for (const area of map['vmas'] as readonly Message[]) {
    const status = Number(area['status']);
    if ((status & ~plainStatus) !== 0)
      throw new BadImage(`mm: process ${pid} has a mapping of the kind 0x${status.toString(16)}`);
    if ((status & fileStatus) !== 0) files.add(Number(area['shmid']));
  }
  return { files: [...files] };
}
