import { constants } from 'node:os';
import { prepareFd } from '../files/files.ts';
import { SOCK_DGRAM, SOCK_NONBLOCK, SOL_SOCKET } from '../ffi/constants.ts';
import { checked, kernelError, uninterrupted } from '../ffi/errno.ts';
import { enter } from '../ffi/ledger.ts';
import { glibc, lastErrno, withAddresses } from '../ffi/libc.ts';
import { socket } from './socket.ts';

/** Sockets that send and receive IPv4 packets on a link, without an address of the link: packet(7). */

const c = {
  bind: glibc('bind', 'int', ['int', 'void *', 'uint']),
  setsockopt: glibc('setsockopt', 'int', ['int', 'int', 'int', 'void *', 'uint']),
  sendto: glibc('sendto', 'int64', ['int', 'void *', 'size_t', 'int', 'void *', 'uint']),
  recvfrom: glibc('recvfrom', 'int64', ['int', 'void *', 'size_t', 'int', 'void *', 'void *']),
};

const AF_PACKET = 17;
const ETH_P_IP = 0x0800;
const SO_ATTACH_FILTER = 26;
const MSG_DONTWAIT = 0x40;
const PACKET_OUTGOING = 4;
const macLength = 6;
const addressLength = 20;

/** struct sockaddr_ll: family, protocol, index, hatype u16, pkttype u8, halen u8, addr u8[8]. */
function linkAddress(index: number, mac?: Uint8Array): Buffer {
  const address = Buffer.alloc(addressLength);
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16BE(ETH_P_IP, 2);
  address.writeInt32LE(index, 4);
  if (mac !== undefined) {
    address[11] = macLength;
    address.set(mac, 12);
  }
  return address;
}

/** Bytes that the content of a datagram must have at a place. At most 64. */
export interface ContentMatch {
  readonly at: number;
  readonly bytes: Uint8Array;
}

type Instruction = readonly [code: number, ifTrue: number, ifFalse: number, value: number];

const udpHeaderLength = 8;

/**
 * A program of the classic packet filter that lets UDP datagrams to one port through, from the IPv4 header
 * on: linux/filter.h. Later fragments do not pass.
 */
function udpPortFilter(port: number, match?: ContentMatch): Buffer {
  const bytes = [...(match?.bytes ?? [])].slice(0, 64);
  const start = udpHeaderLength + (match?.at ?? 0);
  // Each jump leads to the last instruction.
  const compared = bytes.flatMap((byte, at): Instruction[] => [
    [0x50, 0, 0, start + at],
    [0x15, 0, 2 * (bytes.length - 1 - at) + 1, byte],
  ]);
  const more = compared.length;
  const instructions: readonly Instruction[] = [
    [0x30, 0, 0, 9], // protocol
    [0x15, 0, 6 + more, 17],
    [0x28, 0, 0, 6], // fragment offset
    [0x45, 4 + more, 0, 0x1fff],
    [0xb1, 0, 0, 0], // length of the header
    [0x48, 0, 0, 2], // target port
    [0x15, 0, 1 + more, port],
    ...compared,
    [0x06, 0, 0, 0x40000],
    [0x06, 0, 0, 0],
  ];
  return Buffer.concat(
    instructions.map(([code, ifTrue, ifFalse, value]) => {
      const instruction = Buffer.alloc(8);
      instruction.writeUInt16LE(code, 0);
      instruction[2] = ifTrue;
      instruction[3] = ifFalse;
      instruction.writeUInt32LE(value, 4);
      return instruction;
    }),
  );
}

/**
 * Opens a socket in the calling thread's network namespace for IPv4 packets of one link. It receives only UDP
 * datagrams to the port, from before the first packet on. Non-blocking, and closed with its thread.
 * @param match only datagrams with this content wake the caller
 * @throws KERNEL_ENODEV · KERNEL_ENETDOWN · KERNEL_EPERM
 */
export function openPacketSocket(index: number, port: number, match?: ContentMatch): number {
  // With the protocol 0 it receives nothing until it is bound.
  return prepareFd(enter(socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK, 0)), (fd) => {
    const filter = udpPortFilter(port, match);
    // struct sock_fprog: the number of instructions, and their address.
    const program = Buffer.alloc(16);
    program.writeUInt16LE(filter.length / 8, 0);
    withAddresses([filter], ([address]) => {
      program.writeBigUInt64LE(address, 8);
      checked(
        c.setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, program, program.length),
        'setsockopt SO_ATTACH_FILTER',
        `link #${index}`,
      );
    });
    const address = linkAddress(index);
    checked(c.bind(fd, address, address.length), 'bind', `link #${index}`);
  });
}

/** Sends an IPv4 packet to a MAC address on the link. @throws KERNEL_ENETDOWN · KERNEL_ENXIO and others */
export function sendPacket(fd: number, index: number, mac: Uint8Array, packet: Uint8Array): void {
  const address = linkAddress(index, mac);
  uninterrupted(
    () => c.sendto(fd, packet, packet.length, MSG_DONTWAIT, address, address.length),
    'sendto',
    `link #${index}`,
  );
}

/**
 * Receives a waiting packet into `buffer`; a longer one is cut off. Returns its length in the buffer, the MAC
 * address of its sender, and whether a program of this namespace sent it; undefined if none waits.
 * @throws KERNEL_ENETDOWN and others
 */
export function receivePacket(
  fd: number,
  buffer: Uint8Array,
): { readonly length: number; readonly mac: Buffer; readonly isOwn: boolean } | undefined {
  const address = Buffer.alloc(addressLength);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(address.length, 0);
  const length = c.recvfrom(fd, buffer, buffer.length, MSG_DONTWAIT, address, size);
  if (length !== -1)
    return {
      length,
      mac: Buffer.from(address.subarray(12, 12 + macLength)),
      isOwn: address[10] === PACKET_OUTGOING,
    };
  const errno = lastErrno();
  if (errno === constants.errno.EAGAIN || errno === constants.errno.EINTR) return undefined;
  throw kernelError(errno, 'recvfrom', `fd ${fd}`);
}
