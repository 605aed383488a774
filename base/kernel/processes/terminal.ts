import { checked } from '../ffi/errno.ts';
import { glibc } from '../ffi/libc.ts';

const c = { ioctl: glibc('ioctl', 'int', ['int', 'ulong', 'void *']) };

const TIOCSWINSZ = 0x5414;

/** Sets the size of a terminal through its master. Its foreground processes get SIGWINCH: ioctl_tty(2). */
export function setWindowSize(fd: number, size: { readonly rows: number; readonly columns: number }): void {
  const winsize = Buffer.alloc(8); // struct winsize: rows, columns, and two unused u16
  winsize.writeUInt16LE(size.rows, 0);
  winsize.writeUInt16LE(size.columns, 2);
  checked(c.ioctl(fd, TIOCSWINSZ, winsize), 'TIOCSWINSZ', `fd ${fd}`);
}
