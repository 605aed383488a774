import { closeFd } from '../files/files.ts';
import { SOL_SOCKET } from '../ffi/constants.ts';
import { receiveMessage } from './message.ts';

const SCM_RIGHTS = 1;
const MSG_CMSG_CLOEXEC = 0x40000000;
/**
 * Room for data that a message may carry in addition to descriptors: OCI runtimes send the terminal's name.
 */
const dataSize = 4096;
/** Room for one header (16 bytes) and ten descriptors. The kernel drops descriptors that do not fit. */
const controlSize = 56;

/**
 * Receives the first descriptor that the other end of a unix socket has sent (unix(7), SCM_RIGHTS),
 * close-on-exec. Further ones are closed. Returns undefined if there is no message yet.
 * @returns 'end' when the other end is gone, or has sent a message without a descriptor
 */
export function receiveDescriptor(fd: number): number | 'end' | undefined {
  const control = Buffer.alloc(controlSize);
  const received = receiveMessage(fd, Buffer.alloc(dataSize), control, MSG_CMSG_CLOEXEC);
  if (received === undefined) return undefined;
  // struct cmsghdr: length u64, level i32, type i32, then the descriptors
  if (
    received.controlLength < 20 ||
    control.readInt32LE(8) !== SOL_SOCKET ||
    control.readInt32LE(12) !== SCM_RIGHTS
  )
    return 'end';
  const count = (Number(control.readBigUInt64LE(0)) - 16) / 4;
  const [first, ...rest] = Array.from({ length: count }, (_, index) => control.readInt32LE(16 + 4 * index));
  rest.forEach(closeFd);
  return first ?? 'end';
}
