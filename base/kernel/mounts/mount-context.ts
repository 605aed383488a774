import { kernelError } from '../ffi/errno.ts';
import { glibc, lastErrno } from '../ffi/libc.ts';

const c = {
  read: glibc('read', 'int64', ['int', 'void *', 'size_t']),
};

/**
 * Returns the error of a failed fsconfig or fsmount, with the text that the kernel wrote into the log of the
 * file system context ("e overlay: too many …"). Call it directly after the call that failed.
 */
export function contextError(context: number, attempted: string, on: string): Error {
  const errno = lastErrno();
  const lines: string[] = [];
  const message = Buffer.alloc(1024);
  for (
    let length = c.read(context, message, message.length);
    length > 0;
    length = c.read(context, message, message.length)
  ) {
    lines.push(message.toString('utf8', 2, length).trim());
  }
  return kernelError(errno, attempted, on, lines.length === 0 ? undefined : lines.join('; '));
}
