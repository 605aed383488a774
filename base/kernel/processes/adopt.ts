import { Socket } from 'node:net';
import type { OnReadOpts } from 'node:net';
import { closeFd } from '../files/files.ts';
import { checked } from '../ffi/errno.ts';
import { glibc } from '../ffi/libc.ts';
import {
  AF_UNIX,
  O_CLOEXEC,
  O_NONBLOCK,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
} from '../ffi/constants.ts';

const c = {
  socketpair: glibc('socketpair', 'int', ['int', 'int', 'int', 'void *']),
  dup3: glibc('dup3', 'int', ['int', 'int', 'int']),
  fcntl: glibc('fcntl', 'int', ['int', 'int', 'long']),
};

const F_GETFL = 3;
const F_SETFL = 4;

export interface Adopted {
  readonly socket: Socket;
  /** The number by which the socket holds the descriptor. Valid until the socket is destroyed. */
  readonly fd: number;
}

/**
 * Creates a Node socket over a descriptor whose type Node does not know: a SOCK_SEQPACKET socket, a
 * terminal's master, a pidfd. The socket reads, writes, waits and shuts down like any other, without a
 * thread. It owns the descriptor from then on.
 *
 * Node checks the type of a descriptor only when it creates the socket, and polls it only in the next turn of
 * its loop. So the socket is created over one end of a socket pair, and the descriptor then takes that end's
 * number.
 * @param onread for packets: one read of Node is one read(2), and therefore one packet
 * @throws PortcullisError with the error of the call that the kernel refuses
 */
export function adopt(fd: number, onread?: OnReadOpts): Adopted {
  const ends = Buffer.alloc(8);
  checked(c.socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 'socketpair', '');
  const [mine, other] = [ends.readInt32LE(0), ends.readInt32LE(4)];
  closeFd(other);
  const socket = new Socket({
    fd: mine,
    readable: true,
    writable: true,
    allowHalfOpen: true,
    ...(onread !== undefined && { onread }),
  });
  try {
    const flags = checked(c.fcntl(fd, F_GETFL, 0), 'fcntl', `fd ${fd}`);
    checked(c.fcntl(fd, F_SETFL, flags | O_NONBLOCK), 'fcntl', `fd ${fd}`);
    checked(c.dup3(fd, mine, O_CLOEXEC), 'dup3', `fd ${fd}`);
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    closeFd(fd);
  }
  return { socket, fd: mine };
}

/**
 * Calls back once, when the process behind a pidfd has ended (at once if it already has). Takes ownership of
 * the descriptor.
 */
export function onProcessEnd(pidfd: number, callback: () => void): void {
  const { socket } = adopt(pidfd);
  // A readable pidfd means that the process has ended. read(2) on a pidfd fails with EINVAL.
  socket.once('error', () => undefined);
  socket.once('close', () => callback());
  socket.once('end', () => socket.destroy());
  socket.resume();
}
