import { checked } from '../ffi/errno.ts';
import { glibc } from '../ffi/libc.ts';
import { AT_EMPTY_PATH } from '../ffi/constants.ts';

const c = {
  statx: glibc('statx', 'int', ['int', 'str', 'int', 'uint', 'void *']),
};

const STATX_DIOALIGN = 0x2000;

/**
 * Returns the unit, in bytes, at whose multiples a file can be read directly, without the page cache: 0 if it
 * cannot be, or if the kernel does not report it (before 6.1, or for a file system without support). Source:
 * statx(2), STATX_DIOALIGN.
 */
export function directReadUnit(fd: number): number {
  const stat = Buffer.alloc(256);
  checked(c.statx(fd, '', AT_EMPTY_PATH, STATX_DIOALIGN, stat), 'statx', `fd ${fd}`);
  // struct statx: mask u32 at 0, dio_offset_align u32 at 156
  return (stat.readUInt32LE(0) & STATX_DIOALIGN) === 0 ? 0 : stat.readUInt32LE(156);
}
