import { BadImage } from './strict-message.ts';
import type { Message } from './strict-message.ts';

/**
 * The kinds of mappings that a restore makes (criu, include/image.h): plain memory, files, stacks, and what
 * the kernel itself maps. Not: System V segments, sockets, rings of asynchronous I/O, memory files.
 */
const plainStatus = [0, 1, 2, 3, 5, 6, 7, 8, 9, 12].reduce((bits, bit) => bits | (1 << bit), 0);
const fileStatus = { any: (1 << 6) | (1 << 7), shared: 1 << 7 };

/** Access modes of open(2): O_RDONLY, O_WRONLY, O_RDWR. */
const access = { read: 0n, both: 2n };
const writable = 2n;

/** A file that the memory of a process refers to: the program, or a mapped file. */
export interface MappedFile {
  /** Its number in `files.img`. */
  readonly id: number;
  /** The access mode with which criu opens it, whatever `files.img` says. */
  readonly access: number;
}

/**
 * Reads the memory map of a process.
 * @param map an image of the kind `mm`
 * @throws BadImage if a mapping is not of a plain kind, or its file is opened in another way than for access
 */
export function readMappedFiles(pid: number, map: Message): readonly MappedFile[] {
  if ((map['aios'] as readonly unknown[]).length > 0)
    throw new BadImage(`mm: process ${pid} has a ring of asynchronous I/O`);
  const program = Number(map['exeFileId']);
  const files = new Map([[`${program}`, { id: program, access: Number(access.read) }]]);
  for (const area of map['vmas'] as readonly Message[]) {
    const status = Number(area['status']);
    if ((status & ~plainStatus) !== 0)
      throw new BadImage(`mm: process ${pid} has a mapping of the kind 0x${status.toString(16)}`);
    if ((status & fileStatus.any) === 0) continue;
    // Without flags, criu guesses them (criu/files-reg.c, collect_filemap).
    const isWritten = (status & fileStatus.shared) !== 0 && ((area['prot'] as bigint) & writable) !== 0n;
    const guessed = isWritten ? access.both : access.read;
    const flags = (area['fdflags'] as bigint | undefined) ?? guessed;
    if (flags > access.both)
      throw new BadImage(`mm: process ${pid} opens a mapped file with the flags 0${flags.toString(8)}`);
    const id = Number(area['shmid']);
    files.set(`${id} ${flags}`, { id, access: Number(flags) });
  }
  return [...files.values()];
}
