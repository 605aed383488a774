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
} from '../../../base/kernel/index.ts';
import type { Caller } from '../../calls/plugin-call.ts';

/** The caller: a process of uid 0, with its namespaces held open. */
export interface Peer {
  readonly caller: Caller;
  /** Returns what the caller has sent so far, possibly nothing. */
  waiting(): Buffer;
  /**
   * Sends a few bytes. Returns false if the peer is gone or accepts no more; then nothing must be done for
   * it. True means that the peer still existed, and so the namespaces that were opened before belong to it
   * and not to a later process with the same number. A client is the only holder of its socket, which is
   * closed before its number can be reused.
   */
  send(bytes: Buffer): boolean;
  /**
   * Sends what fits at once. Returns how many bytes were accepted, or undefined if the peer is gone or no
   * longer reads. Either way it is now certain whether the peer still existed, even if this thread was busy
   * when it ended.
   */
  deliver(bytes: Buffer): number | undefined;
  /**
   * Returns another descriptor of the connection, which stays open when the socket is closed.
   * @throws KERNEL_EBADF if the socket is closed already
   */
  duplicate(): number;
  close(): void;
}

/**
 * Opens the peer of a socket. Returns undefined for any uid but 0, and for a process that is gone. Only a
 * successful `send` proves that the opened process is the one that connected.
 */
export function openPeer(socket: Socket): Peer | undefined {
  // Node has no API for SO_PEERCRED; the descriptor is on the handle.
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
      // After the socket is closed, its number may belong to another file.
      send: (bytes) => !socket.destroyed && sent(fd, bytes) === bytes.length,
      deliver: (bytes) => (socket.destroyed ? undefined : sent(fd, bytes)),
      duplicate: () => duplicateFd(socket.destroyed ? -1 : fd),
      close: () => opened.forEach(closeFd),
    };
  } catch {
    opened.forEach(closeFd);
    return undefined;
  }
}

/** Most calls fit completely. */
const arrived = Buffer.allocUnsafeSlow(64 * 1024);

function sent(fd: number, bytes: Buffer): number | undefined {
  try {
    return send(fd, bytes, MSG_DONTWAIT);
  } catch (thrown) {
    return isErrno(thrown, 'EAGAIN') ? 0 : undefined;
  }
}
