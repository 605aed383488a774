import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { attempt } from '../../base/errors/index.ts';
import { createConnectionSlots } from '../../base/connections/index.ts';
import type { ConnectionPlace } from '../../base/connections/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { credentialsOf, mayConnect } from './peer.ts';
import type { PeerCredentials, PeerRule } from './peer.ts';

/** The open connections, and the process behind each. */
export interface ConnectionBook {
  /** Checks and logs the peer. Returns false if the connection is refused. */
  admit(socket: Socket): boolean;
  /**
   * Returns the peer by the name that grpc-js has for it. Undefined when that connection no longer exists.
   */
  peerOf(name: string): PeerCredentials | undefined;
  /**
   * Marks the start of a call. While calls are running, a connection is not ended in favour of another
   * process.
   */
  callBegins(name: string): void;
  callEnds(name: string): void;
  /** Resolves once no connection is open. */
  allClosed(): Promise<void>;
  destroyAll(): void;
}

/** Limits for all processes together and for each process. A kubelet has two connections, a tool has one. */
const limits = { most: 1_024, mostOfPeer: 256 };
/** In ms: how long a connection may take to start HTTP/2. */
const prefaceMs = 10_000;
/** The first bytes of a client: the preface and an empty SETTINGS frame (RFC 9113, section 3.4). */
const prefaceLength = 24 + 9;
/** In ms: refused connections are logged once in this time, with their number. */
const reportMs = 10_000;

interface Known {
  readonly socket: Socket;
  readonly peer: PeerCredentials;
  readonly place: ConnectionPlace;
  calls: number;
}

export function connectionBook(options: { readonly rule: PeerRule; readonly log: Logger }): ConnectionBook {
  const open = new Map<string, Known>();
  const slots = createConnectionSlots(limits);
  const reportCrowded = crowdedReporter(options.log);
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
      const place = slots.admit(String(peer.pid), () => {
        reportCrowded(peer);
        socket.destroy();
      });
      if (place === undefined) {
        reportCrowded(peer);
        return false;
      }
      count += 1;
      const name = `connection-${count}`;
      // grpc-js only gives a handler the remote address of its connection. A unix socket has none, so we set
      // one.
      Object.defineProperty(socket, 'remoteAddress', { value: name });
      open.set(name, { socket, peer, place, calls: 0 });
      const silent = setTimeout(
        () => socket.bytesRead < prefaceLength && socket.destroy(),
        prefaceMs,
      ).unref();
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

/**
 * Returns a function that reports refused and ended connections, without a line for each connection of a
 * flood.
 */
function crowdedReporter(log: Logger): (peer: PeerCredentials) => void {
  let reportedAt = -Infinity;
  let unreported = 0;
  return (peer) => {
    unreported += 1;
    if (performance.now() - reportedAt < reportMs) return;
    log.warn(
      { code: 'CRI_TOO_MANY_CONNECTIONS', peer, command: commandOf(peer.pid), connections: unreported },
      `connections were refused or ended: at most ${limits.most} may be open, and ${limits.mostOfPeer} of one process`,
    );
    [reportedAt, unreported] = [performance.now(), 0];
  };
}

/** Returns the command name of a process. For the log only, because a process can choose its name. */
function commandOf(pid: number | undefined): string | undefined {
  if (pid === undefined || pid <= 0) return undefined;
  return attempt(() => readFileSync(`/proc/${pid}/comm`, 'utf8').trimEnd());
}
