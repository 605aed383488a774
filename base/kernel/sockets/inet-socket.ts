import { constants } from 'node:os';
import { prepareFd } from '../files/files.ts';
import { checked, kernelError } from '../ffi/errno.ts';
import { glibc, lastErrno } from '../ffi/libc.ts';
import { setSockOpt, socket } from './socket.ts';
import {
  AF_INET,
  AF_INET6,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
  SO_RCVBUF,
  SO_RCVBUFFORCE,
} from '../ffi/constants.ts';

const c = {
  bind: glibc('bind', 'int', ['int', 'void *', 'uint']),
  connect: glibc('connect', 'int', ['int', 'void *', 'uint']),
};

const SO_REUSEADDR = 2;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;

/** An endpoint of a socket: 4 or 16 bytes of address, and a port. */
export interface InetAddress {
  readonly address: Uint8Array;
  readonly port: number;
}

/**
 * Returns the kernel's form: struct sockaddr_in, 16 bytes: family, port, address; struct sockaddr_in6, 28
 * bytes: family, port, flow, address, scope.
 */
export function sockaddr({ address, port }: InetAddress): Buffer {
  const bytes = Buffer.alloc(address.length === 4 ? 16 : 28);
  bytes.writeUInt16LE(address.length === 4 ? AF_INET : AF_INET6, 0);
  bytes.writeUInt16BE(port, 2);
  bytes.set(address, address.length === 4 ? 4 : 8);
  return bytes;
}

const addressText = ({ address, port }: InetAddress): string =>
  `${Buffer.from(address).toString('hex')}, port ${port}`;

function open(type: number, end: InetAddress, prepare: (fd: number) => void): number {
  const family = end.address.length === 4 ? AF_INET : AF_INET6;
  return prepareFd(socket(family, type | SOCK_NONBLOCK, 0), prepare);
}

function bound(type: number, end: InetAddress, prepare: (fd: number) => void): number {
  return open(type, end, (fd) => {
    if (end.address.length === 16) setSockOpt(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    prepare(fd);
    const name = sockaddr(end);
    checked(c.bind(fd, name, name.length), 'bind', addressText(end));
  });
}

/**
 * Opens a UDP socket in the calling thread's network namespace and binds it to one address; for `dgram`'s
 * `bind({ fd })`.
 * @param receiveBytes the requested size of the kernel's queue; it is smaller if this process may not request
 * that much
 * @throws KERNEL_EADDRINUSE · KERNEL_EADDRNOTAVAIL (the host does not have the address, or not yet)
 */
export function bindUdp(end: InetAddress, receiveBytes: number): number {
  return bound(SOCK_DGRAM, end, (fd) => setReceiveBuffer(fd, receiveBytes));
}

/** Opens a TCP socket like {@link bindUdp}; for `net.Server`'s `listen({ fd })`. */
export function bindTcp(end: InetAddress): number {
  return bound(SOCK_STREAM, end, (fd) => setSockOpt(fd, SOL_SOCKET, SO_REUSEADDR, 1));
}

/**
 * Opens a UDP socket that sends to and receives from one peer only, on a port that the kernel chooses. ICMP
 * errors reach it.
 * @throws KERNEL_ENETUNREACH and others
 */
export function connectUdp(peer: InetAddress, receiveBytes: number): number {
  return open(SOCK_DGRAM, peer, (fd) => {
    setReceiveBuffer(fd, receiveBytes);
    const name = sockaddr(peer);
    checked(c.connect(fd, name, name.length), 'connect', addressText(peer));
  });
}

/**
 * Opens a TCP socket and starts to connect it. It can be written to, and a failure of the connection shows
 * then. @throws as {@link connectUdp}
 */
export function connectTcp(peer: InetAddress): number {
  return open(SOCK_STREAM, peer, (fd) => {
    const name = sockaddr(peer);
    if (c.connect(fd, name, name.length) === 0) return;
    const errno = lastErrno();
    if (errno !== constants.errno.EINPROGRESS && errno !== constants.errno.EINTR)
      throw kernelError(errno, 'connect', addressText(peer));
  });
}

function setReceiveBuffer(fd: number, bytes: number): void {
  try {
    setSockOpt(fd, SOL_SOCKET, SO_RCVBUFFORCE, bytes);
  } catch {
    setSockOpt(fd, SOL_SOCKET, SO_RCVBUF, bytes);
  }
}
