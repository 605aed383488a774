import type { IncomingMessage, ServerOptions, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import {
  connectionsCheckingInterval,
  createConnectionSlots,
  createHttpServer,
} from '../../../base/connections/index.ts';
import type { ConnectionPlace } from '../../../base/connections/index.ts';
import { reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { processIdentity } from '../../../base/process/index.ts';
import type { ProcessIdentity } from '../../../base/process/index.ts';
import { openPeer } from '../../cni/index.ts';
import type { Peer } from '../../cni/index.ts';
import type { Engine } from '../endpoints/endpoints.types.ts';
import { answer } from './http-answer.ts';
import type { Verbs } from './docker-requests.ts';

/**
 * Serves the plugin protocol over HTTP/1.1 as Go's helpers do (docker/go-plugins-helpers, sdk): 200 with the
 * reply, 500 with `{"Err": …}`, 400 for a body that is not JSON, 404 for an unknown verb. Engines interpret a
 * 404 as "not implemented".
 */
export interface HttpService {
  accept(socket: Socket): void;
  /** Refuses new calls, and resolves when those in progress have been answered. */
  close(): Promise<void>;
}

export interface HttpDeps {
  readonly verbs: Verbs;
  /** Runs before the first verb of an engine process. */
  readonly onEngine: (by: Engine) => Promise<void>;
  readonly log: Pick<Logger, 'debug' | 'warn'>;
  /** In ms; 30 s by default. A client that sends half a request occupies a slot no longer than this. */
  readonly silenceMs?: number;
}

/**
 * An engine has a handful of connections. Each takes three descriptors. The peer with the most connections
 * has to yield.
 */
const limits = { most: 512, mostOfPeer: 128 };

/** The engine of a connection. It is held while the connection is open or one of its calls is in progress. */
interface Held {
  readonly by: Engine;
  readonly ready: Promise<void>;
  calls: number;
  open: boolean;
  readonly peer: Peer;
  readonly place: ConnectionPlace;
}

/** Serves the connections that are given to it; it listens nowhere itself. */
export function createHttpService({ verbs, onEngine, log, silenceMs = 30_000 }: HttpDeps): HttpService {
  const held = new WeakMap<Socket, Held>();
  const sockets = new Set<Socket>();
  const underWay = new Set<Promise<void>>();
  const slots = createConnectionSlots(limits);
  let closing = false;

  const release = (engine: Held): void => {
    if (!engine.open && engine.calls === 0) engine.peer.close();
  };

  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const engine = held.get(request.socket);
    if (engine === undefined) return void response.destroy();
    engine.calls += 1;
    engine.place.busy();
    try {
      await engine.ready;
      await answer(request, response, engine.by, { verbs, log });
    } finally {
      engine.calls -= 1;
      if (engine.calls === 0) engine.place.idle();
      release(engine);
    }
  };

  const server = createHttpServer({ ...times(silenceMs), keepAliveTimeout: 0 }, (request, response) => {
    const call = serve(request, response)
      .catch((thrown: unknown) => {
        log.warn({ why: reasonOf(thrown) }, 'a call of the remote driver failed');
        response.destroy();
      })
      .finally(() => {
        underWay.delete(call);
        // An idle connection of an engine would stay open for ever.
        if (closing) request.socket.end();
      });
    underWay.add(call);
  });

  // This server never listens itself. Node starts to check for incomplete requests when a server listens.
  server.emit('listening');

  return {
    accept(socket) {
      socket.on('error', () => undefined);
      const peer = closing ? undefined : openPeer(socket);
      if (peer === undefined) {
        if (!closing)
          log.warn({}, 'a caller of the remote driver was refused: it is not root, or has exited');
        socket.destroy();
        return;
      }
      const place = slots.admit(String(peer.caller.pid), () => socket.destroy());
      if (place === undefined) {
        log.warn(
          { pid: peer.caller.pid },
          'a caller of the remote driver was refused: too many connections are open',
        );
        peer.close();
        socket.destroy();
        return;
      }
      let identity: ProcessIdentity | undefined;
      try {
        identity = peer.caller.pid === undefined ? undefined : processIdentity(peer.caller.pid);
      } catch (thrown) {
        log.warn(
          { pid: peer.caller.pid, why: reasonOf(thrown) },
          'a caller of the remote driver was refused: its process cannot be identified',
        );
        place.leave();
        peer.close();
        socket.destroy();
        return;
      }
      const by: Engine = { caller: peer.caller, ...(identity !== undefined && { identity }) };
      const engine: Held = { by, peer, place, ready: Promise.resolve(), calls: 1, open: true };
      const ready = onEngine(by).finally(() => {
        engine.calls -= 1;
        release(engine);
      });
      // A call of the engine receives the error. Without a call, the rejection must not end the process.
      ready.catch(() => undefined);
      held.set(socket, Object.assign(engine, { ready }));
      sockets.add(socket);
      socket.once('close', () => {
        sockets.delete(socket);
        place.leave();
        engine.open = false;
        release(engine);
      });
      server.emit('connection', socket);
    },
    async close() {
      closing = true;
      await Promise.all(underWay);
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

const times = (silenceMs: number): ServerOptions => ({
  requestTimeout: silenceMs,
  headersTimeout: silenceMs,
  connectionsCheckingInterval: Math.min(connectionsCheckingInterval, silenceMs),
});
