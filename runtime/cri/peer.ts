import type { Socket } from 'node:net';
import { peerCredentials } from '../../base/kernel/index.ts';

/**
 * SO_PEERCRED of a unix connection: the process that connected, as the kernel saw it at that time (unix(7)).
 */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/**
 * Which users besides uid 0 may use the endpoint. A connection is accepted if its uid or its primary gid is
 * listed.
 */
export interface PeerRule {
  readonly uids: readonly number[];
  readonly gids: readonly number[];
}

/**
 * Returns undefined when the kernel cannot identify the peer, for example when the connection no longer
 * exists. Such a peer is refused.
 */
export function credentialsOf(socket: Socket): PeerCredentials | undefined {
  // Node has no interface for SO_PEERCRED. The handle has the descriptor.
  const fd = (socket as unknown as { readonly _handle?: { readonly fd?: number } | null })._handle?.fd;
  if (fd === undefined || fd < 0) return undefined;
  try {
    const { pid, uid, gid } = peerCredentials(fd);
    return { pid, uid, gid };
  } catch {
    return undefined;
  }
}

export function mayConnect(peer: PeerCredentials, rule: PeerRule): boolean {
  return peer.uid === 0 || rule.uids.includes(peer.uid) || rule.gids.includes(peer.gid);
}
