import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { Logger } from '../../base/log/index.ts';
import { credentialsOf, mayConnect } from './peer.ts';
import type { PeerCredentials, PeerRule } from './peer.ts';

/** The connections that are open, and who is behind each. */
export interface ConnectionBook {
  /** Checks and logs the peer. False: refused. */
  admit(socket: Socket): boolean;
  /** By what grpc-js calls the peer of a call; undefined when that connection is gone. */
  peerOf(name: string): PeerCredentials | undefined;
  /** Resolves once none is open. */
  allClosed(): Promise<void>;
  destroyAll(): void;
}

export function connectionBook(options: { readonly rule: PeerRule; readonly log: Logger }): ConnectionBook {
  const open = new Map<string, { readonly socket: Socket; readonly peer: PeerCredentials }>();
  const waiting: (() => void)[] = [];
  let count = 0;
  return {
    admit: (socket) => {
      const peer = credentialsOf(socket);
      if (peer === undefined || !mayConnect(peer, options.rule)) {
        options.log.warn(
          { code: 'CRI_PEER_REFUSED', peer, command: commandOf(peer?.pid) },
          'connection refused: the peer is neither root nor configured',
        );
        return false;
      }
      count += 1;
      const name = `connection-${count}`;
      // grpc-js tells a handler only the remote address of its connection, which a unix socket does not have: give it one.
      Object.defineProperty(socket, 'remoteAddress', { value: name });
      open.set(name, { socket, peer });
      socket.once('close', () => {
        open.delete(name);
        if (open.size === 0) for (const wake of waiting.splice(0)) wake();
      });
      options.log.info({ connection: name, peer, command: commandOf(peer.pid) }, 'connection accepted');
      return true;
    },
    peerOf: (name) => open.get(name)?.peer,
    allClosed: () => (open.size === 0 ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve))),
    destroyAll: () => {
      for (const { socket } of open.values()) socket.destroy();
    },
  };
}

/** The command name of a process, for the log only: a process can choose it. */
function commandOf(pid: number | undefined): string | undefined {
  if (pid === undefined || pid <= 0) return undefined;
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trimEnd();
  } catch {
    return undefined;
  }
}
