import type { Socket } from 'node:net';
import { attempt } from '../../base/errors/index.ts';
import { hasHungUp } from '../../base/kernel/index.ts';

/** Destroys the sockets of clients that have disconnected, also while the sockets are not read. */
export interface ClientWatch {
  /** Watches a socket until it is closed. */
  add(socket: Socket): void;
  /** @param send sends a client something that it does not answer, and that changes nothing for it */
  probeWith(socket: Socket, send: () => void): void;
  close(): void;
}

interface Watched {
  bytesRead: number;
  /** All bytes in either direction, without the probes. */
  traffic: number;
  probes: number;
  lastTraffic: number;
  checks: number;
  probe: () => void;
}

const watchMs = 2_000;
/** Every how many checks a probe is sent. */
const probeEvery = 3;

/**
 * A socket is not read while the command accepts no more input, and does not report then that its client has
 * disconnected. The kernel reports it if no data is before the end of the stream. With more data than this
 * side receives, the kernel of the client keeps the end back, for minutes. But it refuses data for a socket
 * that its client has closed. So a probe is sent.
 * @param idleTimeoutMs a socket is destroyed after this time with no traffic but probes, which the timeout of
 * the socket does not see
 */
export function watchClients(idleTimeoutMs: number): ClientWatch {
  const sockets = new Map<Socket, Watched>();
  const check = (socket: Socket, watched: Watched): void => {
    const isRead = socket.bytesRead !== watched.bytesRead;
    watched.bytesRead = socket.bytesRead;
    const traffic = socket.bytesRead + socket.bytesWritten - watched.probes;
    if (traffic !== watched.traffic) watched.lastTraffic = performance.now();
    watched.traffic = traffic;
    if (isRead) return;
    const isIdle = watched.probes > 0 && performance.now() - watched.lastTraffic > idleTimeoutMs;
    if (isIdle || hasGone(socket)) return void socket.destroy();
    watched.checks += 1;
    const isBlocked = socket.isPaused() || socket.readableLength > 0;
    // Data that the client has not taken yet is a probe, too.
    if (!isBlocked || socket.writableLength > 0 || watched.checks % probeEvery !== 0) return;
    const before = socket.bytesWritten;
    watched.probe();
    watched.probes += socket.bytesWritten - before;
  };
  const timer = setInterval(() => {
    for (const [socket, watched] of sockets) check(socket, watched);
  }, watchMs);
  return {
    add: (socket) => {
      sockets.set(socket, {
        ...{ bytesRead: -1, traffic: -1, probes: 0, lastTraffic: 0, checks: 0, probe: () => undefined },
      });
      socket.once('close', () => sockets.delete(socket));
    },
    probeWith: (socket, send) => {
      const watched = sockets.get(socket);
      if (watched !== undefined) watched.probe = send;
    },
    close: () => {
      clearInterval(timer);
      for (const socket of sockets.keys()) socket.destroy();
    },
  };
}

function hasGone(socket: Socket): boolean {
  // Node has no public API for it. A TLS socket shows the descriptor of the connection below.
  const fd = (socket as unknown as { readonly _handle?: { readonly fd?: number } | null })._handle?.fd ?? -1;
  return attempt(() => fd >= 0 && hasHungUp(fd)) ?? false;
}
