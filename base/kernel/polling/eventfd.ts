import { checked, isErrno, uninterrupted } from '../ffi/errno.ts';
import { glibc } from '../ffi/libc.ts';
import { writeFd } from '../files/files.ts';

const c = {
  eventfd: glibc('eventfd', 'int', ['uint', 'int']),
  read: glibc('read', 'int64', ['int', 'void *', 'size_t']),
};

const EFD_CLOEXEC = 0o2000000;
const EFD_NONBLOCK = 0o4000;

/**
 * Creates a non-blocking eventfd(2): a counter that is readable while it is not 0. Any thread may signal it.
 */
export function createEventFd(): number {
  return checked(c.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), 'eventfd', '');
}

/** Adds one, which wakes the threads that wait for it. */
export function signalEventFd(fd: number): void {
  const one = Buffer.alloc(8);
  one.writeBigUInt64LE(1n, 0);
  writeFd(fd, one);
}

/**
 * Resets the counter to 0 and returns its previous value.
 * @throws PortcullisError if the descriptor cannot be read
 */
export function drainEventFd(fd: number): bigint {
  const counter = Buffer.alloc(8);
  try {
    uninterrupted(() => c.read(fd, counter, counter.length), 'read', `eventfd ${fd}`);
  } catch (error) {
    if (isErrno(error, 'EAGAIN')) return 0n;
    throw error;
  }
  return counter.readBigUInt64LE(0);
}
