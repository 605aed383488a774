import { constants } from 'node:os';
import { checked, cString, kernelError, uninterrupted } from '../ffi/errno.ts';
import { glibc, glibcApart, lastErrno } from '../ffi/libc.ts';
import {
  AF_NETLINK,
  AF_UNIX,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  SHUT_WR,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SO_PEERCRED,
  SOL_SOCKET,
} from '../ffi/constants.ts';
import { prepareFd } from '../files/files.ts';

const c = {
  socket: glibc('socket', 'int', ['int', 'int', 'int']),
  bind: glibc('bind', 'int', ['int', 'void *', 'uint']),
  connect: glibc('connect', 'int', ['int', 'void *', 'uint']),
  listen: glibc('listen', 'int', ['int', 'int']),
  fcntl: glibc('fcntl', 'int', ['int', 'int', 'long']),
  send: glibc('send', 'int64', ['int', 'void *', 'size_t', 'int']),
  recv: glibc('recv', 'int64', ['int', 'void *', 'size_t', 'int']),
  shutdown: glibc('shutdown', 'int', ['int', 'int']),
  setsockopt: glibc('setsockopt', 'int', ['int', 'int', 'int', 'void *', 'uint']),
  getsockopt: glibc('getsockopt', 'int', ['int', 'int', 'int', 'void *', 'void *']),
  poll: glibc('poll', 'int', ['void *', 'ulong', 'int']),
};

/**
 * Calls socket(2), always with SOCK_CLOEXEC. Add SOCK_NONBLOCK to `type` for any socket that the main thread
 * uses.
 */
export function socket(domain: number, type: number, protocol: number): number {
  return checked(
    c.socket(domain, type | SOCK_CLOEXEC, protocol),
    'socket',
    `domain ${domain}, protocol ${protocol}`,
  );
}

/**
 * Binds a netlink socket to a port id that the kernel chooses. `groups`: bits of the old multicast groups (1
 * to 32).
 */
export function bindNetlink(fd: number, groups = 0): void {
  const address = Buffer.alloc(12); // struct sockaddr_nl: family u16, pad u16, pid u32, groups u32
  address.writeUInt16LE(AF_NETLINK, 0);
  address.writeUInt32LE(groups >>> 0, 8);
  checked(c.bind(fd, address, address.length), 'bind', `netlink fd ${fd}`);
}

/** Connects to a unix socket. The path has at most 107 bytes (ENAMETOOLONG). */
export function connectUnix(fd: number, path: string): void {
  const address = unixAddress(path, 'connect');
  uninterrupted(() => c.connect(fd, address, address.length), 'connect', path);
}

/**
 * Opens a unix socket that listens at a path. The path must be free (EADDRINUSE) and has at most 107 bytes
 * (ENAMETOOLONG). Non-blocking, with the longest queue that the kernel allows.
 * @throws PortcullisError with the error of the call; no descriptor is left then
 */
export function listenUnix(path: string): number {
  const address = unixAddress(path, 'bind');
  return prepareFd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), (fd) => {
    checked(c.bind(fd, address, address.length), 'bind', path);
    checked(c.listen(fd, mostWaiting), 'listen', path);
  });
}

/** The kernel uses a lower limit if net.core.somaxconn is lower. */
const mostWaiting = 4096;

function unixAddress(path: string, call: string): Buffer {
  const name = Buffer.from(cString(path, call), 'utf8');
  if (name.length > 107)
    throw kernelError('ENAMETOOLONG', call, path, 'the path of a unix socket has at most 107 bytes');
  const address = Buffer.alloc(2 + name.length + 1); // struct sockaddr_un
  address.writeUInt16LE(AF_UNIX, 0);
  name.copy(address, 2);
  return address;
}

const F_DUPFD_CLOEXEC = 1030;

/**
 * Returns another number for the same open file or socket, closed on execve(2): fcntl(2), F_DUPFD_CLOEXEC.
 */
export function duplicateFd(fd: number): number {
  return checked(c.fcntl(fd, F_DUPFD_CLOEXEC, 3), 'fcntl F_DUPFD_CLOEXEC', `fd ${fd}`);
}

/**
 * Calls send(2) with MSG_NOSIGNAL. Returns the number of bytes accepted. On a non-blocking socket a full
 * queue is EAGAIN.
 */
export function send(fd: number, data: Uint8Array, flags = 0): number {
  return uninterrupted(() => c.send(fd, data, data.length, flags | MSG_NOSIGNAL), 'send', `fd ${fd}`);
}

/**
 * Calls recv(2) into `buffer`. Returns the number of bytes; 0 is the end; more than the buffer holds only
 * with MSG_TRUNC. EAGAIN if no data is waiting.
 */
export function recv(fd: number, buffer: Uint8Array, flags = 0): number {
  return uninterrupted(() => c.recv(fd, buffer, buffer.length, flags), 'recv', `fd ${fd}`);
}

/**
 * Receives waiting data with recv(2) into `buffer`; undefined if there is none. Returns more than the buffer
 * holds only with MSG_TRUNC. Throws less often than {@link recv}: an error costs more than the call.
 */
export function receiveWaiting(fd: number, buffer: Uint8Array, flags = 0): number | undefined {
  const received = c.recv(fd, buffer, buffer.length, flags | MSG_DONTWAIT);
  if (received !== -1) return received;
  return lastErrno() === constants.errno.EAGAIN ? undefined : recv(fd, buffer, flags | MSG_DONTWAIT);
}

const sendInPool = glibcApart('send', 'int64', ['int', 'void *', 'size_t', 'int']);

/**
 * Calls send(2) in a thread of libuv's pool: for the few requests that the kernel answers only after a wait,
 * such as the deletion of a link. Resolves when the call has returned; -1 if it failed. The pool has four
 * threads and serves every file: run at most two of these at once.
 */
export async function sendApart(fd: number, data: Uint8Array): Promise<number> {
  const sent = await sendInPool(fd, data, data.length, MSG_NOSIGNAL);
  // This keeps `data` referenced until the call is over.
  return data.length === 0 ? 0 : sent;
}

/**
 * Calls shutdown(2). By default no more data will be sent, which conmon treats as the end of the container's
 * input.
 */
export function shutdown(fd: number, how = SHUT_WR): void {
  checked(c.shutdown(fd, how), 'shutdown', `fd ${fd}`);
}

/** Sets a socket option that is a C int. */
export function setSockOpt(fd: number, level: number, option: number, value: number): void {
  const int = Buffer.alloc(4);
  int.writeInt32LE(value, 0);
  checked(
    c.setsockopt(fd, level, option, int, int.length),
    'setsockopt',
    `fd ${fd}, level ${level}, option ${option}`,
  );
}

export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/**
 * Returns the process that connected to this unix socket, as the kernel recorded it at connect time:
 * SO_PEERCRED of unix(7).
 */
export function peerCredentials(fd: number): PeerCredentials {
  const ucred = Buffer.alloc(12);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(ucred.length, 0);
  checked(c.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ucred, length), 'getsockopt', `fd ${fd}`);
  return { pid: ucred.readInt32LE(0), uid: ucred.readUInt32LE(4), gid: ucred.readUInt32LE(8) };
}

const SO_NETNS_COOKIE = 71;

/**
 * Returns the cookie of the socket's network namespace: a number that the kernel gives to no other namespace
 * until the next boot. Since Linux 5.14; ENOPROTOOPT before.
 */
export function netnsCookie(fd: number): bigint {
  const cookie = Buffer.alloc(8);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(cookie.length, 0);
  checked(c.getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, cookie, length), 'getsockopt', `fd ${fd}`);
  return cookie.readBigUInt64LE(0);
}

const POLLIN = 1;

/**
 * Returns whether `fd` is readable (or at its end) within `timeoutMs`; -1 waits forever. On the main thread
 * use only 0.
 */
export function pollIn(fd: number, timeoutMs: number): boolean {
  const pollfd = Buffer.alloc(8); // struct pollfd: fd i32, events i16, revents i16
  pollfd.writeInt32LE(fd, 0);
  pollfd.writeInt16LE(POLLIN, 4);
  const deadline = performance.now() + timeoutMs;
  const left = (): number => (timeoutMs < 0 ? -1 : Math.max(0, Math.ceil(deadline - performance.now())));
  return uninterrupted(() => c.poll(pollfd, 1, left()), 'poll', `fd ${fd}`) > 0;
}
