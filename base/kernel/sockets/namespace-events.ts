import { MSG_TRUNC, SOL_NETLINK } from '../ffi/constants.ts';
import { receiveMessage } from './message.ts';
import { setSockOpt } from './socket.ts';

/** The option of the socket, and the type of the control message (linux/netlink.h). Since Linux 4.2. */
const NETLINK_LISTEN_ALL_NSID = 8;
/** The size of one header (16 bytes) and a number, padded. */
const controlSize = 24;

/**
 * Makes a netlink socket receive the events of all network namespaces that have a number in its own namespace
 * (`ip netns list-id`). It keeps none of them alive.
 */
export function hearAllNamespaces(fd: number): void {
  setSockOpt(fd, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1);
}

export interface Heard {
  /** Larger than the buffer if the message was longer. */
  readonly length: number;
  /** The number of the namespace. Absent: the socket's own namespace. */
  readonly namespace?: number;
}

/**
 * Reads the next event of a socket of {@link hearAllNamespaces} into `buffer`. Returns undefined if there is
 * none. Does not block.
 */
export function receiveHeard(fd: number, buffer: Uint8Array): Heard | undefined {
  const control = Buffer.alloc(controlSize);
  const received = receiveMessage(fd, buffer, control, MSG_TRUNC);
  if (received === undefined) return undefined;
  const { length, controlLength } = received;
  // struct cmsghdr: length u64, level i32, type i32, then the number
  const isNumbered =
    controlLength >= 20 &&
    control.readInt32LE(8) === SOL_NETLINK &&
    control.readInt32LE(12) === NETLINK_LISTEN_ALL_NSID;
  return isNumbered ? { length, namespace: control.readInt32LE(16) } : { length };
}
