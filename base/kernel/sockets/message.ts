import { glibc, withAddresses } from '../ffi/libc.ts';
import { isErrno, uninterrupted } from '../ffi/errno.ts';
import { MSG_DONTWAIT } from '../ffi/constants.ts';

const c = { recvmsg: glibc('recvmsg', 'int64', ['int', 'void *', 'int']) };

export interface ReceivedMessage {
  /** Bytes of data; with MSG_TRUNC, bytes of the whole message. */
  readonly length: number;
  /** Bytes of control data: one header (16 bytes: length u64, level i32, type i32) and its content. */
  readonly controlLength: number;
}

/**
 * Receives a waiting message with recvmsg(2), into `data` and `control`. Returns undefined if there is none.
 * Does not block.
 */
export function receiveMessage(
  fd: number,
  data: Uint8Array,
  control: Uint8Array,
  flags: number,
): ReceivedMessage | undefined {
  const [iovec, message] = [Buffer.alloc(16), Buffer.alloc(56)];
  return withAddresses([data, control, iovec], ([dataAt, controlAt, iovecAt]) => {
    iovec.writeBigUInt64LE(dataAt, 0);
    iovec.writeBigUInt64LE(BigInt(data.length), 8);
    // struct msghdr on 64 bits: name, its length, iovec, their number, control, its length, flags
    message.writeBigUInt64LE(iovecAt, 16);
    message.writeBigUInt64LE(1n, 24);
    message.writeBigUInt64LE(controlAt, 32);
    message.writeBigUInt64LE(BigInt(control.length), 40);
    try {
      const length = uninterrupted(() => c.recvmsg(fd, message, flags | MSG_DONTWAIT), 'recvmsg', `fd ${fd}`);
      return { length, controlLength: Number(message.readBigUInt64LE(40)) };
    } catch (thrown) {
      if (isErrno(thrown, 'EAGAIN')) return undefined;
      throw thrown;
    }
  });
}
