import { koffi, unterminated } from '../process/index.ts';

/** linux/fs.h: returns instead of waiting for the disk. */
const RWF_NOWAIT = 8;

/**
 * Reads from the current position of a file what the page cache holds, up to `length` bytes, into `buffer` at
 * `from`. Returns the number of bytes; undefined: the file ends, the read would wait, or it failed. A read
 * that may wait finds out why. Linux 5.9 and 5.10 may return 0 before the end of a file.
 * Source: preadv2(2), section BUGS.
 */
export type CachedRead = (fd: number, buffer: Buffer, from: number, length: number) => number | undefined;

let found: CachedRead | undefined;

/**
 * Returns a read that never waits for the disk: preadv2(2) with RWF_NOWAIT. Without a C library that has the
 * call, it returns undefined for each read, as it does on file systems without support.
 */
export function cachedRead(): CachedRead {
  return (found ??= bind());
}

function bind(): CachedRead {
  try {
    return unterminated(() => {
      const preadv2 = koffi()
        .load('libc.so.6')
        .func('preadv2', 'int64', ['int', 'void *', 'int', 'int64', 'int']);
      // struct iovec: the address of the buffer and its length.
      const vector = Buffer.alloc(16);
      return (fd, buffer, from, length) => {
        vector.writeBigUInt64LE(BigInt(koffi().address(buffer)) + BigInt(from), 0);
        vector.writeBigUInt64LE(BigInt(length), 8);
        // -1: the position of the descriptor, which then moves.
        const bytes = Number(preadv2(fd, vector, 1, -1, RWF_NOWAIT));
        return bytes > 0 ? bytes : undefined;
      };
    });
  } catch {
    return () => undefined;
  }
}
