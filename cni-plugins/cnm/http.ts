import { createServer } from 'node:http';
import type { IncomingMessage, ServerOptions, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { connectionsCheckingInterval, createConnectionGate } from '../../base/connections/index.ts';
import type { ConnectionPlace } from '../../base/connections/index.ts';
import { PortcullisError, isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { processIdentity } from '../../base/process/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import { openPeer } from '../serve/peer.ts';
import type { Peer } from '../serve/peer.ts';
import type { Engine } from './endpoints.types.ts';
import { pluginContentType } from './protocol.ts';
import type { DriverError } from './protocol.ts';
import { NotJson } from './requests.ts';
import type { Verbs } from './verbs.ts';

/**
 * Serves the plugin protocol over HTTP/1.1 as Go's helpers do (docker/go-plugins-helpers, sdk): 200 with the
 * reply, 500 with `{"Err": …}`, 400 for a body that is no JSON, 404 for an unknown verb. Engines interpret a
 * 404 as "not implemented".
 */
export interface HttpService {
  accept(socket: Socket): void;
  /** Refuses new calls, and resolves when those in progress have been answered. */
  close(): Promise<void>;
}

export interface HttpParts {
  readonly verbs: Verbs;
  /** Runs before the first verb of an engine process. */
  readonly onEngine: (by: Engine) => Promise<void>;
  readonly log: Pick<Logger, 'debug' | 'warn'>;
  /** In ms; 30 s by default. A client that sends half a request occupies a slot no longer than this. */
  readonly silenceMs?: number;
}

/** Larger than any request of an engine. */
const maxBody = 1024 * 1024;
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

export function createHttpService({ verbs, onEngine, log, silenceMs = 30_000 }: HttpParts): HttpService {
  const held = new WeakMap<Socket, Held>();
  const sockets = new Set<Socket>();
  const underWay = new Set<Promise<void>>();
  const gate = createConnectionGate(limits);
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
      await answer(request, response, engine.by);
    } finally {
      engine.calls -= 1;
      if (engine.calls === 0) engine.place.idle();
      release(engine);
    }
  };

  const answer = async (request: IncomingMessage, response: ServerResponse, by: Engine): Promise<void> => {
    const name = (request.url ?? '').split('?')[0]?.slice(1) ?? '';
    const verb = Object.hasOwn(verbs, name) ? verbs[name as keyof Verbs] : undefined;
    if (verb === undefined) return reply(response, 404, '404 page not found\n');
    const started = performance.now();
    try {
      const body = await bodyOf(request);
      if (body === undefined) return reply(response, 413, `${name}: the request is larger than ${maxBody} bytes\n`);
      const value: object = await verb(body, by);
      log.debug({ verb: name, ms: performance.now() - started }, 'remote driver');
      reply(response, 200, value);
    } catch (thrown) {
      // The engine is gone: there is no client to answer, and nothing was begun.
      if (request.destroyed && !request.complete) return void response.destroy();
      if (thrown instanceof NotJson) return reply(response, 400, `${thrown.message}\n`);
      const { message } = isPortcullisError(thrown) ? thrown : internal(name, thrown);
      log.warn({ verb: name, why: message }, 'the remote driver refuses');
      const refusal: DriverError = { Err: message };
      reply(response, 500, refusal);
    }
  };

  const server = createServer({ ...times(silenceMs), keepAliveTimeout: 0 }, (request, response) => {
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
        if (!closing) log.warn({}, 'a caller of the remote driver was refused: it is not root, or gone');
        socket.destroy();
        return;
      }
      const place = gate.admit(String(peer.caller.pid), () => socket.destroy());
      if (place === undefined) {
        log.warn({ pid: peer.caller.pid }, 'a caller of the remote driver was refused: too many connections are open');
        peer.close();
        socket.destroy();
        return;
      }
      let identity: ProcessIdentity | undefined;
      try {
        identity = peer.caller.pid === undefined ? undefined : processIdentity(peer.caller.pid);
      } catch (thrown) {
        log.warn({ pid: peer.caller.pid, why: reasonOf(thrown) }, 'a caller of the remote driver was refused: who it is cannot be read');
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

function reply(response: ServerResponse, status: number, content: object | string): void {
  const isText = typeof content === 'string';
  const body = isText ? content : `${JSON.stringify(content)}\n`;
  response.writeHead(status, {
    'content-type': isText ? 'text/plain; charset=utf-8' : pluginContentType,
    'content-length': Buffer.byteLength(body),
  });
  response.end(body);
}

/** Returns undefined if the body is too long. */
async function bodyOf(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length <= maxBody) chunks.push(chunk);
  }
  return length > maxBody ? undefined : Buffer.concat(chunks).toString('utf8');
}

function internal(verb: string, thrown: unknown): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_INTERNAL',
    kind: 'internal',
    attempted: `answer ${verb}`,
    on: '',
    why: reasonOf(thrown),
    fix: 'report this with the log',
  });
}
