import { constants } from 'node:os';
import { kernelError } from '../ffi/errno.ts';
import { glibc, lastErrno, withAddresses } from '../ffi/libc.ts';
import { AF_INET, AF_INET6, MSG_DONTWAIT, MSG_NOSIGNAL } from '../ffi/constants.ts';

const c = {
  recvmmsg: glibc('recvmmsg', 'int', ['int', 'void *', 'uint', 'int', 'void *']),
  sendmmsg: glibc('sendmmsg', 'int', ['int', 'void *', 'uint', 'int']),
};

/** The source of a datagram, and the destination of its answer. */
export interface DatagramPeer {
  /** The address, 4 or 16 bytes. */
  readonly address: Buffer;
  readonly port: number;
  /** The kernel's form of the address: struct sockaddr_in or sockaddr_in6. */
  readonly name: Buffer;
}

/**
 * Sends and receives many datagrams of one UDP socket in one system call: recvmmsg(2), sendmmsg(2). It never
 * blocks.
 */
export interface DatagramBatch {
  /**
   * Receives the datagrams that have arrived, at most `most` at a time. `each` must not keep the bytes and
   * the peer after it returns without copying them.
   * @returns the number of datagrams; if it equals `most`, more may be waiting. An error that the kernel
   * reports about a datagram sent before counts as none.
   */
  receive(each: (message: Buffer, peer: DatagramPeer) => void): number;
  /** Queues a datagram for {@link flush}; its bytes are copied. Sends the queue first if it is full. */
  add(message: Uint8Array, name: Buffer): void;
  /**
   * Sends the queued datagrams. A datagram that the kernel does not accept is dropped, as the network may
   * drop any datagram.
   */
  flush(): void;
}

const msghdrBytes = 56;
const headerBytes = 64; // struct mmsghdr of 64-bit Linux: struct msghdr, then the length, then padding
const iovecBytes = 16;
const nameBytes = 28;
const nameSlot = 32;

interface Slots {
  readonly headers: Buffer;
  readonly vectors: Buffer;
  readonly names: Buffer;
  readonly bytes: Buffer;
}

/**
 * Creates a reader and writer of the datagrams of a socket. One call of the kernel (recvmmsg(2), sendmmsg(2))
 * takes at most `most` datagrams.
 * @param slotBytes the size of one slot; a longer datagram is truncated when received, and an error when sent
 */
export function openDatagramBatch(fd: number, most: number, slotBytes: number): DatagramBatch {
  const incoming = slots(most, slotBytes);
  const outgoing = slots(most, slotBytes);
  let noted = 0;
  const incomingNames = Array.from({ length: most }, (_, index) => {
    const name = incoming.names.subarray(index * nameSlot, index * nameSlot + nameBytes);
    return { four: name.subarray(0, 16), six: name };
  });

  const flush = (): void => {
    let sent = 0;
    while (sent < noted) {
      const taken = c.sendmmsg(
        fd,
        outgoing.headers.subarray(sent * headerBytes),
        noted - sent,
        MSG_DONTWAIT | MSG_NOSIGNAL,
      );
      // The first remaining datagram is one that the kernel refused, or it got the error of an earlier one.
      // It is dropped in both cases.
      sent += taken > 0 ? taken : 1;
    }
    noted = 0;
  };

  return {
    receive(each) {
      for (let index = 0; index < most; index += 1)
        incoming.headers.writeUInt32LE(nameBytes, index * headerBytes + 8);
      const count = c.recvmmsg(fd, incoming.headers, most, MSG_DONTWAIT, null);
      if (count === -1) {
        const errno = lastErrno();
        // ICMP errors about answers whose client is gone.
        const { EBADF, EINVAL, ENOTSOCK, EFAULT, ENOSYS } = constants.errno;
        if ([EBADF, EINVAL, ENOTSOCK, EFAULT, ENOSYS].includes(errno))
          throw kernelError(errno, 'recvmmsg', `fd ${fd}`);
        return 0;
      }
      for (let index = 0; index < count; index += 1) {
        const length = Math.min(incoming.headers.readUInt32LE(index * headerBytes + msghdrBytes), slotBytes);
        const { four, six } = incomingNames[index] ?? { four: incoming.names, six: incoming.names };
        const family = six.readUInt16LE(0);
        if (family !== AF_INET && family !== AF_INET6) continue;
        const name = family === AF_INET ? four : six;
        const address = family === AF_INET ? four.subarray(4, 8) : six.subarray(8, 24);
        each(incoming.bytes.subarray(index * slotBytes, index * slotBytes + length), {
          address,
          port: name.readUInt16BE(2),
          name,
        });
      }
      return count;
    },
    add(message, name) {
      if (message.length > slotBytes)
        throw kernelError(
          'EMSGSIZE',
          'sendmmsg',
          `fd ${fd}`,
          `${message.length} bytes are more than ${slotBytes}`,
        );
      if (noted === most) flush();
      outgoing.bytes.set(message, noted * slotBytes);
      outgoing.names.set(name, noted * nameSlot);
      outgoing.headers.writeUInt32LE(name.length, noted * headerBytes + 8);
      outgoing.vectors.writeBigUInt64LE(BigInt(message.length), noted * iovecBytes + 8);
      noted += 1;
    },
    flush,
  };
}

/**
 * Creates headers that point to their own names and bytes. The addresses are valid while the batch is
 * referenced, because the batch references all buffers.
 */
function slots(most: number, slotBytes: number): Slots {
  const made: Slots = {
    headers: Buffer.alloc(most * headerBytes),
    vectors: Buffer.alloc(most * iovecBytes),
    names: Buffer.alloc(most * nameSlot),
    bytes: Buffer.alloc(most * slotBytes),
  };
  const [vectors, names, bytes] = withAddresses(
    [made.vectors, made.names, made.bytes],
    (addresses) => addresses,
  );
  for (let index = 0; index < most; index += 1) {
    const header = index * headerBytes;
    // struct msghdr: name, its length, vectors, their number, control data and its length, flags.
    made.headers.writeBigUInt64LE(names + BigInt(index * nameSlot), header);
    made.headers.writeUInt32LE(nameBytes, header + 8);
    made.headers.writeBigUInt64LE(vectors + BigInt(index * iovecBytes), header + 16);
    made.headers.writeBigUInt64LE(1n, header + 24);
    made.vectors.writeBigUInt64LE(bytes + BigInt(index * slotBytes), index * iovecBytes);
    made.vectors.writeBigUInt64LE(BigInt(slotBytes), index * iovecBytes + 8);
  }
  return made;
}
