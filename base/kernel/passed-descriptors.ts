import { addressOf, glibc } from './libc.ts';
import { closeFd } from './files.ts';
import { isErrno, uninterrupted } from './errno.ts';
import { MSG_DONTWAIT, SOL_SOCKET } from './constants.ts';

const c = { recvmsg: glibc('recvmsg', 'int64', ['int', 'void *', 'int']) };

const SCM_RIGHTS = 1;
const MSG_CMSG_CLOEXEC = 0x40000000;
/** What a message may carry beside descriptors: the OCI runtimes send the terminal's name. */
const dataSize = 4096;
/** Room for one header (16 bytes) and ten descriptors; the kernel drops what does not fit. */
const controlSize = 56;

/**
 * The first descriptor that the other end of a unix socket has sent (unix(7), SCM_RIGHTS), close-on-exec; further ones are
 * closed. Undefined when there is no message yet.
 * @returns 'end' when the other end has gone, or sent a message without a descriptor
 */
export function receiveDescriptor(fd: number): number | 'end' | undefined {
  const [data, control, iovec, message] = [Buffer.alloc(dataSize), Buffer.alloc(controlSize), Buffer.alloc(16), Buffer.alloc(56)];
  iovec.writeBigUInt64LE(addressOf(data), 0);
  iovec.writeBigUInt64LE(BigInt(dataSize), 8);
  // struct msghdr on 64 bits: name, its length, iovec, their number, control, its length, flags
  message.writeBigUInt64LE(addressOf(iovec), 16);
  message.writeBigUInt64LE(1n, 24);
  message.writeBigUInt64LE(addressOf(control), 32);
  message.writeBigUInt64LE(BigInt(controlSize), 40);
  try {
    uninterrupted(() => c.recvmsg(fd, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC), 'recvmsg', `fd ${fd}`);
  } catch (error) {
    if (isErrno(error, 'EAGAIN')) return undefined;
    throw error;
  }
  const received = Number(message.readBigUInt64LE(40));
  // struct cmsghdr: length u64, level i32, type i32, then the descriptors
  if (received < 20 || control.readInt32LE(8) !== SOL_SOCKET || control.readInt32LE(12) !== SCM_RIGHTS) return 'end';
  const count = (Number(control.readBigUInt64LE(0)) - 16) / 4;
  const [first, ...rest] = Array.from({ length: count }, (_, index) => control.readInt32LE(16 + 4 * index));
  rest.forEach(closeFd);
  return first ?? 'end';
}
