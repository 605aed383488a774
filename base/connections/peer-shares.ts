import type { ServerResponse } from 'node:http';
import { networkPeer } from './peer.ts';

/** A limited amount, such as bytes of memory, as one peer sees it. */
export interface PeerShare {
  /** The amount that the peer may take now. A change takes some of it, or gives some back. */
  free: number;
}

/** Divides a limited amount among peers. */
export interface PeerShares {
  of(peer: string): PeerShare;
}

/** A peer may hold this many times what nobody holds. */
const part = 3;

/**
 * Divides an amount so that no peer locks another out: a peer may hold at most three times what nobody holds
 * (Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches"). One peer alone
 * gets three quarters of the amount. While it holds them, another peer gets three sixteenths.
 */
export function createPeerShares(amount: number): PeerShares {
  const held = new Map<string, number>();
  let unused = amount;
  return {
    of: (peer) => ({
      get free() {
        return Math.floor((part * unused - (held.get(peer) ?? 0)) / (part + 1));
      },
      set free(next) {
        const taken = this.free - next;
        const now = (held.get(peer) ?? 0) + taken;
        unused -= taken;
        if (now === 0) held.delete(peer);
        else held.set(peer, now);
      },
    }),
  };
}

/**
 * Takes an amount from the share of the client of a response until the client has read the response or has
 * left.
 * @returns false if the share is too small, or if the client has left
 */
export function reserveForResponse(shares: PeerShares, response: ServerResponse, amount: number): boolean {
  const share = shares.of(networkPeer(response.req.socket.remoteAddress));
  if (share.free < amount || response.closed) return false;
  share.free -= amount;
  response.once('close', () => (share.free += amount));
  return true;
}
