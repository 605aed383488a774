import { addressOf, glibc } from './libc.ts';
import { isErrno, uninterrupted } from './errno.ts';
import { MSG_DONTWAIT, MSG_TRUNC, SOL_NETLINK } from './constants.ts';
import { setSockOpt } from './socket.ts';

const c = { recvmsg: glibc('recvmsg', 'int64', ['int', 'void *', 'int']) };

/** Option of the socket, and type of the control message (linux/netlink.h). Since Linux 4.2. */
const NETLINK_LISTEN_ALL_NSID = 8;
/** One header (16 bytes) and a number, padded. */
const controlSize = 24;

/** Has a netlink socket hear the events of all network namespaces that have a number in its own (`ip netns list-id`). It keeps none of them alive. */
export function hearAllNamespaces(fd: number): void {
  setSockOpt(fd, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1);
}

export interface Heard {
  /** More than the buffer holds where the message was longer. */
  readonly length: number;
  /** Number of the namespace; absent: the socket's own. */
  readonly namespace?: number;
}

/** The next event of a socket of {@link hearAllNamespaces}, into `buffer`; undefined when there is none. Does not wait. */
export function receiveHeard(fd: number, buffer: Uint8Array): Heard | undefined {
  const [control, iovec, message] = [Buffer.alloc(controlSize), Buffer.alloc(16), Buffer.alloc(56)];
  iovec.writeBigUInt64LE(addressOf(buffer), 0);
  iovec.writeBigUInt64LE(BigInt(buffer.length), 8);
  // struct msghdr on 64 bits: name, its length, iovec, their number, control, its length, flags
  message.writeBigUInt64LE(addressOf(iovec), 16);
  message.writeBigUInt64LE(1n, 24);
  message.writeBigUInt64LE(addressOf(control), 32);
  message.writeBigUInt64LE(BigInt(control.length), 40);
  let length: number;
  try {
    length = uninterrupted(() => c.recvmsg(fd, message, MSG_DONTWAIT | MSG_TRUNC), 'recvmsg', `fd ${fd}`);
  } catch (thrown) {
    if (isErrno(thrown, 'EAGAIN')) return undefined;
    throw thrown;
  }
  // struct cmsghdr: length u64, level i32, type i32, then the number
  const isNumbered =
    Number(message.readBigUInt64LE(40)) >= 20 &&
    control.readInt32LE(8) === SOL_NETLINK &&
    control.readInt32LE(12) === NETLINK_LISTEN_ALL_NSID;
  return isNumbered ? { length, namespace: control.readInt32LE(16) } : { length };
}
