import type { ServerResponse } from 'node:http';
import { createPeerShares, networkPeer, reserveForResponse } from '../../base/connections/index.ts';
import type { PeerShare } from '../../base/connections/index.ts';

/** The memory of stored files, and of changefeeds, that requests hold until their responses are read. */
export interface HeldFiles {
  /**
   * Takes memory that no other request shares, until the client has read the response or has left.
   * @returns false if the share of the client is too small, or if the client has left
   */
  reserve(response: ServerResponse, bytes: number): boolean;
  /** Like `reserve`, for a file that other requests may hold too. All of them together take its size once. */
  share(response: ServerResponse, file: Buffer): boolean;
}

/** Files of at most this many bytes do not count. No client has to wait for memory to read a timestamp. */
const smallFile = 16 * 1024;

/** @param amount in bytes; divided among the addresses of the clients */
export function createHeldFiles(amount: number): HeldFiles {
  const shares = createPeerShares(amount);
  /** The shares of the clients that read a file. The first of them bears its size. */
  const readers = new WeakMap<Buffer, Set<PeerShare>>();
  const leave = (file: Buffer, mine: PeerShare): void => {
    const all = readers.get(file);
    const [first] = all ?? [];
    all?.delete(mine);
    if (first !== mine) return;
    mine.free += file.length;
    const [next] = all ?? [];
    if (next === undefined) readers.delete(file);
    else next.free -= file.length;
  };
  return {
    reserve: (response, bytes) => reserveForResponse(shares, response, bytes),
    share(response, file) {
      if (file.length <= smallFile) return true;
      if (response.closed) return false;
      const mine = shares.of(networkPeer(response.req.socket.remoteAddress));
      const others = readers.get(file);
      if (others === undefined) {
        if (mine.free < file.length) return false;
        mine.free -= file.length;
        readers.set(file, new Set([mine]));
      } else others.add(mine);
      response.once('close', () => leave(file, mine));
      return true;
    },
  };
}
