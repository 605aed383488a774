import { AF_UNIX, MSG_NOSIGNAL, SOCK_DGRAM, SOCK_NONBLOCK } from '../ffi/constants.ts';
import { cString, kernelError, uninterrupted } from '../ffi/errno.ts';
import { closeFd } from '../files/files.ts';
import { glibc } from '../ffi/libc.ts';
import { socket } from './socket.ts';

const sendto = glibc('sendto', 'int64', ['int', 'void *', 'size_t', 'int', 'void *', 'uint']);

/**
 * Sends one datagram to a unix socket, from an unnamed socket of this process (the receiver may ask the
 * kernel for the sender). It never blocks: if the receiver's queue is full, it fails with KERNEL_EAGAIN.
 * @param address a path, or `@` and a name of the abstract namespace (unix(7)); at most 107 bytes
 * (KERNEL_ENAMETOOLONG)
 * @throws PortcullisError KERNEL_ECONNREFUSED, KERNEL_ENOENT and others
 */
export function sendDatagram(address: string, data: Uint8Array): void {
  const name = Buffer.from(cString(address, 'sendto'), 'utf8');
  if (name.length > 107)
    throw kernelError('ENAMETOOLONG', 'sendto', address, 'the path of a unix socket has at most 107 bytes');
  const abstract = address.startsWith('@');
  if (abstract) name[0] = 0;
  // struct sockaddr_un: an abstract name ends with the address, a path ends with a zero byte.
  const target = Buffer.alloc(2 + name.length + (abstract ? 0 : 1));
  target.writeUInt16LE(AF_UNIX, 0);
  name.copy(target, 2);
  using opened = new DisposableStack();
  const fd = opened.adopt(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0), closeFd);
  uninterrupted(() => sendto(fd, data, data.length, MSG_NOSIGNAL, target, target.length), 'sendto', address);
}
