import { checked, isErrno, uninterrupted } from '../ffi/errno.ts';
import { glibc } from '../ffi/libc.ts';

const c = {
  create: glibc('epoll_create1', 'int', ['int']),
  ctl: glibc('epoll_ctl', 'int', ['int', 'int', 'int', 'void *']),
  wait: glibc('epoll_wait', 'int', ['int', 'void *', 'int', 'int']),
};

const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;
export const EPOLLIN = 1;
/** The descriptor is disarmed after one event, until {@link epollRearm}. */
export const EPOLLONESHOT = 1 << 30;

// struct epoll_event { events u32; data u64 } is packed on x86-64 only.
const DATA = process.arch === 'x64' ? 4 : 8;
const SIZE = DATA + 8;

/** Creates an epoll instance. Any thread may add to it while another one waits. */
export function createEpoll(): number {
  return checked(c.create(EPOLL_CLOEXEC), 'epoll_create1', '');
}

/**
 * Watches `fd`. Its events are returned with `id`. EEXIST: it is watched already. EPERM: the file is always
 * readable.
 */
export function epollAdd(epoll: number, fd: number, events: number, id: number): void {
  checked(c.ctl(epoll, EPOLL_CTL_ADD, fd, event(events, id)), 'epoll_ctl', `fd ${fd}`);
}

/** Arms a descriptor again. Returns false if it is no longer watched because it was closed. */
export function epollRearm(epoll: number, fd: number, events: number, id: number): boolean {
  return unlessGone(() =>
    checked(c.ctl(epoll, EPOLL_CTL_MOD, fd, event(events, id)), 'epoll_ctl', `fd ${fd}`),
  );
}

/** Stops watching `fd`. Returns false if it was not watched. */
export function epollRemove(epoll: number, fd: number): boolean {
  return unlessGone(() => checked(c.ctl(epoll, EPOLL_CTL_DEL, fd, null), 'epoll_ctl', `fd ${fd}`));
}

/** Returns the ids that are ready now. Does not wait. */
export function epollReady(epoll: number, most: number): number[] {
  const buffer = Buffer.alloc(most * SIZE);
  const count = uninterrupted(() => c.wait(epoll, buffer, most, 0), 'epoll_wait', `fd ${epoll}`);
  return Array.from({ length: count }, (_, index) => Number(buffer.readBigUInt64LE(index * SIZE + DATA)));
}

function event(events: number, id: number): Buffer {
  const buffer = Buffer.alloc(SIZE);
  buffer.writeUInt32LE(events, 0);
  buffer.writeBigUInt64LE(BigInt(id), DATA);
  return buffer;
}

function unlessGone(call: () => void): boolean {
  try {
    call();
    return true;
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'EBADF')) return false;
    throw error;
  }
}
