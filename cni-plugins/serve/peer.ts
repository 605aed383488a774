import type { Socket } from 'node:net';
import {
  MSG_DONTWAIT,
  O_DIRECTORY,
  O_PATH,
  O_RDONLY,
  closeFd,
  duplicateFd,
  isErrno,
  openFile,
  peerCredentials,
  receiveWaiting,
  send,
} from '../../base/kernel/index.ts';
import type { Caller } from '../attach/plugin-call.ts';

/** Who called: a process of uid 0, and its namespaces, held open. */
export interface Peer {
  readonly caller: Caller;
  /** What it has sent by now; empty where there is nothing yet. */
  waiting(): Buffer;
  /**
   * Sends a few bytes. False when the peer is gone, or takes no more: nothing must be done for it. True: it was there, and with it the process whose
   * namespaces were opened before, and no later one of the same number. A client's socket is its alone, and closed before its number is free again.
   */
  tell(bytes: Buffer): boolean;
  /**
   * Sends what fits at once. How many bytes were taken; undefined when the peer is gone or reads no more: whether it still was there is certain now, also
   * where this thread was busy while it went.
   */
  deliver(bytes: Buffer): number | undefined;
  /** Another descriptor of the connection, which stays open when the socket is closed. @throws KERNEL_EBADF when it is closed already */
  duplicate(): number;
  close(): void;
}

/** Undefined for anybody but uid 0, and for a process that is gone. Whether it was the one that connected is certain once it was told something. */
export function openPeer(socket: Socket): Peer | undefined {
  // Node has no interface for SO_PEERCRED; the descriptor is on the handle.
  const fd = (socket as unknown as { readonly _handle?: { readonly fd?: number } | null })._handle?.fd;
  if (fd === undefined || fd < 0) return undefined;
  const opened: number[] = [];
  try {
    const { pid, uid } = peerCredentials(fd);
    if (uid !== 0 || pid <= 0) return undefined;
    const netnsFd = openFile(`/proc/${pid}/ns/net`, O_RDONLY);
    opened.push(netnsFd);
    const rootFd = openFile(`/proc/${pid}/root`, O_PATH | O_DIRECTORY);
    opened.push(rootFd);
    return {
      caller: { netnsFd, rootFd, pid },
      waiting() {
        const length = receiveWaiting(fd, arrived);
        return length === undefined ? Buffer.alloc(0) : Buffer.from(arrived.subarray(0, length));
      },
      // Once the socket is closed its number may be another file's.
      tell: (bytes) => !socket.destroyed && sent(fd, bytes) === bytes.length,
      deliver: (bytes) => (socket.destroyed ? undefined : sent(fd, bytes)),
      duplicate: () => duplicateFd(socket.destroyed ? -1 : fd),
      close: () => opened.forEach(closeFd),
    };
  } catch {
    opened.forEach(closeFd);
    return undefined;
  }
}

/** Everything of most calls. */
const arrived = Buffer.allocUnsafeSlow(64 * 1024);

function sent(fd: number, bytes: Buffer): number | undefined {
  try {
    return send(fd, bytes, MSG_DONTWAIT);
  } catch (thrown) {
    return isErrno(thrown, 'EAGAIN') ? 0 : undefined;
  }
}
