import type { Socket } from 'node:net';
import { O_DIRECTORY, O_PATH, O_RDONLY, closeFd, openFile, peerCredentials } from '../../base/kernel/index.ts';
import type { Caller } from '../attach/plugin-call.ts';

/** Who called: a process of uid 0, and its namespaces, held open. */
export interface Peer {
  readonly caller: Caller;
  close(): void;
}

/**
 * Undefined for anybody but uid 0, and for a process that is gone. A client answers the greeting that is sent after this: so the
 * process whose namespaces were opened was still the one that connected, and no later one of the same number.
 */
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
    return { caller: { netnsFd, rootFd, pid }, close: () => opened.forEach(closeFd) };
  } catch {
    opened.forEach(closeFd);
    return undefined;
  }
}
