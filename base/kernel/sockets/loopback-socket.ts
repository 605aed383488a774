import { constants } from 'node:os';
import { closeFd } from '../files/files.ts';
import { checked, kernelError } from '../ffi/errno.ts';
import { glibc, lastErrno } from '../ffi/libc.ts';
import { socket } from './socket.ts';
import { AF_INET, AF_INET6, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET } from '../ffi/constants.ts';

const c = {
  connect: glibc('connect', 'int', ['int', 'void *', 'uint']),
  getsockopt: glibc('getsockopt', 'int', ['int', 'int', 'int', 'void *', 'void *']),
  poll: glibc('poll', 'int', ['void *', 'ulong', 'int']),
};

const SO_ERROR = 4;
const POLLOUT = 4;

/**
 * Opens a TCP socket in the calling thread's network namespace that connects to loopback: 4 is 127.0.0.1, 6
 * is [::1]. It never blocks.
 */
export function openLoopbackSocket(version: 4 | 6): number {
  return socket(version === 4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
}

/**
 * Starts to connect a socket of {@link openLoopbackSocket}, from any namespace: a socket stays in its own
 * namespace.
 * @returns whether it is connected already; otherwise {@link loopbackConnected} reports it
 * @throws KERNEL_ECONNREFUSED and others; the socket is closed then
 */
export function connectLoopback(fd: number, version: 4 | 6, port: number): boolean {
  // struct sockaddr_in, 16 bytes: family, port, address. struct sockaddr_in6, 28 bytes: family, port, flow,
  // address, scope.
  const address = Buffer.alloc(version === 4 ? 16 : 28);
  address.writeUInt16LE(version === 4 ? AF_INET : AF_INET6, 0);
  address.writeUInt16BE(port, 2);
  if (version === 4) address.writeUInt32BE(0x7f000001, 4);
  else address.writeUInt8(1, 23);
  if (c.connect(fd, address, address.length) === 0) return true;
  const errno = lastErrno();
  if (errno === constants.errno.EINPROGRESS || errno === constants.errno.EINTR) return false;
  closeFd(fd);
  throw kernelError(errno, 'connect', name(version, port));
}

/**
 * Returns whether a pending connect has succeeded by now.
 * @throws as {@link connectLoopback}
 */
export function loopbackConnected(fd: number, version: 4 | 6, port: number): boolean {
  const pollfd = Buffer.alloc(8); // struct pollfd: fd i32, events i16, revents i16
  pollfd.writeInt32LE(fd, 0);
  pollfd.writeInt16LE(POLLOUT, 4);
  if (checked(c.poll(pollfd, 1, 0), 'poll', name(version, port)) === 0) return false;
  const [value, length] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32LE(4, 0);
  checked(c.getsockopt(fd, SOL_SOCKET, SO_ERROR, value, length), 'getsockopt', name(version, port));
  const errno = value.readInt32LE(0);
  if (errno === 0) return true;
  closeFd(fd);
  throw kernelError(errno, 'connect', name(version, port));
}

function name(version: 4 | 6, port: number): string {
  return version === 4 ? `127.0.0.1:${port}` : `[::1]:${port}`;
}
