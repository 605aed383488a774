import { checked } from '../ffi/errno.ts';
import { glibc } from '../ffi/libc.ts';

const c = { poll: glibc('poll', 'int', ['void *', 'ulong', 'int']) };

const POLLERR = 0x08;
const POLLHUP = 0x10;
const POLLRDHUP = 0x2000;

/**
 * Returns whether the other end of a stream socket is gone, or will send no more, even if some of its data is
 * unread: poll(2).
 */
export function hasHungUp(fd: number): boolean {
  const pollfd = Buffer.alloc(8); // struct pollfd: fd i32, events i16, revents i16
  pollfd.writeInt32LE(fd, 0);
  pollfd.writeInt16LE(POLLRDHUP, 4);
  checked(c.poll(pollfd, 1, 0), 'poll', `fd ${fd}`);
  return (pollfd.readInt16LE(6) & (POLLERR | POLLHUP | POLLRDHUP)) !== 0;
}
