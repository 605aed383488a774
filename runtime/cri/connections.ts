import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { createConnectionGate } from '../../base/connections/index.ts';
import type { ConnectionPlace } from '../../base/connections/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { credentialsOf, mayConnect } from './peer.ts';
import type { PeerCredentials, PeerRule } from './peer.ts';

/** The connections that are open, and who is behind each. */
export interface ConnectionBook {
  /** Checks and logs the peer. False: refused. */
  admit(socket: Socket): boolean;
  /** By what grpc-js calls the peer of a call; undefined when that connection is gone. */
  peerOf(name: string): PeerCredentials | undefined;
  /** While calls are under way, a connection is not ended in favour of another process. */
  callBegins(name: string): void;
  callEnds(name: string): void;
  /** Resolves once none is open. */
  allClosed(): Promise<void>;
  destroyAll(): void;
}

/** Of all processes, and of one: a kubelet has two, a tool one. */
const limits = { most: 1_024, mostOfPeer: 256 };
/** In ms: how long a connection may take to begin with HTTP/2. */
const prefaceMs = 10_000;
/** What a client sends first: the preface and an empty SETTINGS frame (RFC 9113, section 3.4). */
const prefaceLength = 24 + 9;
/** In ms: refused connections are logged once in this time, with their number. */
const tellMs = 10_000;

interface Known {
  readonly socket: Socket;
  readonly peer: PeerCredentials;
  readonly place: ConnectionPlace;
  calls: number;
}

export function connectionBook(options: { readonly rule: PeerRule; readonly log: Logger }): ConnectionBook {
  const open = new Map<string, Known>();
  const gate = createConnectionGate(limits);
  const tellCrowded = crowdedTeller(options.log);
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
      const place = gate.admit(String(peer.pid), () => {
        tellCrowded(peer);
        socket.destroy();
      });
      if (place === undefined) {
        tellCrowded(peer);
        return false;
      }
      count += 1;
      const name = `connection-${count}`;
      // grpc-js tells a handler only the remote address of its connection, which a unix socket does not have: give it one.
      Object.defineProperty(socket, 'remoteAddress', { value: name });
      open.set(name, { socket, peer, place, calls: 0 });
      const silent = setTimeout(() => socket.bytesRead < prefaceLength && socket.destroy(), prefaceMs).unref();
      socket.once('close', () => {
        clearTimeout(silent);
        place.leave();
        open.delete(name);
        if (open.size === 0) for (const wake of waiting.splice(0)) wake();
      });
      options.log.info({ connection: name, peer, command: commandOf(peer.pid) }, 'connection accepted');
      return true;
    },
    peerOf: (name) => open.get(name)?.peer,
    callBegins: (name) => {
      const known = open.get(name);
      if (known === undefined) return;
      known.calls += 1;
      known.place.busy();
    },
    callEnds: (name) => {
      const known = open.get(name);
      if (known === undefined) return;
      known.calls -= 1;
      if (known.calls === 0) known.place.idle();
    },
    allClosed: () => (open.size === 0 ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve))),
    destroyAll: () => {
      for (const { socket } of open.values()) socket.destroy();
    },
  };
}

/** Reports that connections find no place, or give it up, without a line for each of a flood. */
function crowdedTeller(log: Logger): (peer: PeerCredentials) => void {
  let toldAt = -Infinity;
  let untold = 0;
  return (peer) => {
    untold += 1;
    if (performance.now() - toldAt < tellMs) return;
    log.warn(
      { code: 'CRI_TOO_MANY_CONNECTIONS', peer, command: commandOf(peer.pid), connections: untold },
      `connections were refused or ended: at most ${limits.most} may be open, and ${limits.mostOfPeer} of one process`,
    );
    [toldAt, untold] = [performance.now(), 0];
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
