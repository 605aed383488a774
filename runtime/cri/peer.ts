import type { Socket } from 'node:net';
import { peerCredentials } from '../../base/kernel/index.ts';

/** SO_PEERCRED of a unix connection: who connected, as the kernel saw it then (unix(7)). */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** Who may speak to the endpoint beside uid 0. A connection is let in when its uid or its primary gid is listed. */
export interface PeerRule {
  readonly uids: readonly number[];
  readonly gids: readonly number[];
}

/** Undefined when the kernel can not say, as for a connection that is already gone: such a peer is refused. */
export function credentialsOf(socket: Socket): PeerCredentials | undefined {
  // Node has no interface for SO_PEERCRED; the descriptor is on the handle.
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
