import { closeSync, openSync, readSync, writeSync } from 'node:fs';

export interface FoundPartition {
  /** Offset and size in bytes. */
  readonly at: number;
  readonly bytes: number;
}

/**
 * Reads the partitions of a disk by their names, as a boot finds them: from the disk and not from the
 * build.
 */
export function partitionsOf(disk: string): ReadonlyMap<string, FoundPartition> {
  const file = openSync(disk, 'r');
  try {
    const array = Buffer.alloc(128 * 128);
    readSync(file, array, 0, array.length, 2 * 512);
    const found = new Map<string, FoundPartition>();
    for (let at = 0; at < array.length; at += 128) {
      const name = array.toString('utf16le', at + 56, at + 128).replaceAll('\0', '');
      const [first, last] = [Number(array.readBigUInt64LE(at + 32)), Number(array.readBigUInt64LE(at + 40))];
      if (first > 0) found.set(name, { at: first * 512, bytes: (last - first + 1) * 512 });
    }
    return found;
  } finally {
    closeSync(file);
  }
}

/** Changes one bit of the byte at an offset of a disk. */
export function changeByte(disk: string, offset: number): void {
  const file = openSync(disk, 'r+');
  try {
    const byte = Buffer.alloc(1);
    readSync(file, byte, 0, 1, offset);
    byte.writeUInt8(byte.readUInt8(0) ^ 1);
    writeSync(file, byte, 0, 1, offset);
  } finally {
    closeSync(file);
  }
}
