import { Server, ServerCredentials } from '@grpc/grpc-js';
import type { handleServerStreamingCall, handleUnaryCall, UntypedServiceImplementation } from '@grpc/grpc-js';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../../base/log/index.ts';
import { serveStream, serveUnary } from './calls.ts';
import type { CallSite } from './calls.ts';
import { connectionBook } from './connections.ts';
import { rpcs } from './contract/services.ts';
import { serverDefinition } from './definitions.ts';
import { messageLimits } from './limits.ts';
import type { ImageServiceHandlers, RuntimeServiceHandlers } from './handlers.ts';
import type { CallObserver } from './observe.ts';
import type { PeerRule } from './peer.ts';
import { listenUnix } from './unix-listener.ts';

export interface CriServerOptions {
  readonly socketPath: string;
  readonly runtimeService: Partial<RuntimeServiceHandlers>;
  readonly imageService: Partial<ImageServiceHandlers>;
  readonly log: Logger;
  /** Which users besides root may connect. The socket file belongs to the first gid. Default: none. */
  readonly peers?: PeerRule;
  /** Observe every call; the first is the outermost. Default: none. */
  readonly observers?: readonly CallObserver[];
}

export interface CriServer {
  /** Refuses new calls, aborts running calls after `graceMs` (default 1,000) and removes the socket. */
  close(options?: { readonly graceMs?: number }): Promise<void>;
}

/**
 * Serves both CRI services on a unix socket. Every RPC of the contract is registered; an RPC without a
 * handler answers UNIMPLEMENTED with its name. A handler's failure becomes a gRPC status (see status.ts) and
 * never ends the process.
 * Throws CRI_SOCKET_IN_USE, CRI_SOCKET_OCCUPIED, CRI_SOCKET_PATH, CRI_SOCKET_LISTEN.
 */
export async function createCriServer(options: CriServerOptions): Promise<CriServer> {
  const peers = options.peers ?? { uids: [], gids: [] };
  const connections = connectionBook({ rule: peers, log: options.log });
  const closing = new AbortController();
  const underWay = new Set<Promise<void>>();
  const site: CallSite = {
    log: options.log,
    connections,
    closing: closing.signal,
    observers: options.observers ?? [],
    track: (call) => {
      underWay.add(call);
      void call.finally(() => underWay.delete(call));
    },
  };

  const server = new Server({
    ...messageLimits,
    // Channelz keeps a record of every session: a known leak, and no code reads it here.
    'grpc.enable_channelz': 0,
    // A kubelet has a few running calls for each pod. Further calls wait at the client.
    'grpc.max_concurrent_streams': 1_000,
    // A kubelet's connection stays open for weeks. Its socket shows when a peer has disconnected, so pings
    // are rare.
    'grpc.keepalive_time_ms': 2 * 60 * 60 * 1000,
    'grpc.keepalive_timeout_ms': 20_000,
  });
  for (const service of ['RuntimeService', 'ImageService'] as const) {
    const handlers: Readonly<Record<string, unknown>> = {
      ...(service === 'RuntimeService' ? options.runtimeService : options.imageService),
    };
    const implementation: Record<
      string,
      handleUnaryCall<Buffer, Buffer> | handleServerStreamingCall<Buffer, Buffer>
    > = {};
    for (const rpc of rpcs.filter((candidate) => candidate.service === service)) {
      const handler = handlers[rpc.key];
      implementation[rpc.key] = rpc.responseStream
        ? serveStream(site, rpc, handler)
        : serveUnary(site, rpc, handler);
    }
    server.addService(serverDefinition(service), implementation as UntypedServiceImplementation);
  }

  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const listener = await listenUnix(options.socketPath, {
    group: peers.gids[0] ?? 0,
    onConnection: (socket: Socket) => {
      if (!closing.signal.aborted && connections.admit(socket)) injector.injectConnection(socket);
      else socket.destroy();
    },
  });

  let closed: Promise<void> | undefined;
  const close = async (graceMs: number): Promise<void> => {
    listener.close();
    injector.drain(graceMs);
    const ended = new AbortController();
    // A call ends before its answer is written. A drained connection closes once the answer is written.
    const calls = Promise.allSettled(underWay).then(() => connections.allClosed().then(() => ended.abort()));
    await Promise.race([calls, sleep(graceMs, undefined, { signal: ended.signal }).catch(() => undefined)]);
    closing.abort();
    server.forceShutdown();
    connections.destroyAll();
  };
  return { close: ({ graceMs = 1000 } = {}) => (closed ??= close(graceMs)) };
}
