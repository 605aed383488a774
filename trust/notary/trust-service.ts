import type { RequestListener, Server } from 'node:http';
import { join } from 'node:path';
import {
  closeServer,
  connectionsCheckingInterval,
  createHttpServer,
  createHttpsServer,
  createPeerShares,
  createTurns,
  limitHttpConnections,
  listenOn,
  readListenAddress,
  refuseTunnel,
} from '../../base/connections/index.ts';
import { asPortcullisError } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import { createKeyedQueue } from '../../base/queues/index.ts';
import { lockFolder } from '../../base/storage/index.ts';
import { answerInTime } from './answer-in-time.ts';
import { createCollections, usualBytes } from './collections.ts';
import { createHeldFiles } from './held-files.ts';
import { createJudge } from './upload-judge.ts';
import { openKeyVault } from './key-vault.ts';
import { createServiceMetrics } from './metrics.ts';
import { openTrustStore } from './store.ts';
import type { TrustStore } from './store.ts';
import { tokenGuard } from './tokens.ts';
import type { TokenAuthority } from './tokens.ts';

export interface TrustServiceOptions {
  /** `HOST:PORT`. Port 0 is any free port. */
  readonly listen: string;
  /** Folder of the database and, by default, of the key file; created when absent. */
  readonly data: string;
  /**
   * File with the key that seals the private keys in the database; created when absent. Default:
   * `DATA/service.key`.
   */
  readonly keyFile?: string;
  /** PEM. Without it the service uses plain HTTP. */
  readonly tls?: { readonly certificate: string; readonly key: string };
  /** Without it every client may do everything. */
  readonly tokens?: TokenAuthority;
  /** Collections whose names have none of these prefixes are refused (INVALID_GUN). */
  readonly prefixes?: readonly string[];
  /** Maximum size of an upload, and of the current files of a collection, in bytes. Default: 100 MiB. */
  readonly uploadBytes?: number;
  /** Maximum number of connections at one time. Default: 4,096. */
  readonly connections?: number;
  /** Maximum number of connections of one address (for IPv6, of its first 64 bits). Default: 256. */
  readonly connectionsOfAddress?: number;
  /** Called with internal errors that occur while a request is answered. */
  readonly onFailure?: (error: PortcullisError) => void;
  /** Called once when the database can no longer be used: only a restart helps. */
  readonly onLost?: (error: PortcullisError) => void;
  /** Milliseconds since 1970. */
  readonly clock?: () => number;
}

export interface TrustService {
  /** For example `http://127.0.0.1:4443` */
  readonly url: string;
  close(): Promise<void>;
}

/**
 * In ms: how long a client may take to send the head of a request, a whole request with its upload, and the
 * next request.
 */
const timeLimits = {
  headersTimeout: 15_000,
  requestTimeout: 300_000,
  keepAliveTimeout: 30_000,
  connectionsCheckingInterval,
};
/** How long requests in flight may take when the service ends, in ms. */
const lastAnswersMs = 1000;
/**
 * Memory limit of all uploads that are being received, and of all stored files that requests hold: this many
 * times the largest upload.
 */
const largestAtOnce = 4;
/** Enough for many changefeeds, which `--max-upload` does not limit. */
const leastForFiles = 64 * 1024 * 1024;

/**
 * Serves collections of signed metadata in Notary v1's dialect and in TUF's.
 * @throws TRUST_SERVICE_KEY · TRUST_SERVICE_LISTEN · TRUST_SERVICE_TOKENS · STORAGE_IN_USE when another
 * process serves this folder · STORAGE_…
 */
export async function startTrustService(options: TrustServiceOptions): Promise<TrustService> {
  const clock = options.clock ?? Date.now;
  // The serving process caches the current files. Two processes on one folder would each serve files that the
  // other has replaced.
  const lock = await lockFolder(options.data);
  const judge = createJudge();
  let store: TrustStore | undefined;
  const shut = async (): Promise<void> => {
    await judge.close();
    await store?.close();
    lock.release();
  };
  try {
    store = await openTrustStore(options.data, options.onLost);
    const vault = await openKeyVault(store, options.keyFile ?? join(options.data, 'service.key'));
    const uploadBytes = options.uploadBytes ?? usualBytes;
    const collections = createCollections(store, vault, judge, clock, uploadBytes);
    const metrics = createServiceMetrics();
    const guard = options.tokens === undefined ? undefined : tokenGuard(options.tokens, clock);
    const context = {
      collections,
      store,
      metrics,
      guard,
      prefixes: options.prefixes ?? [],
      limits: { bytes: uploadBytes, parts: 1024 },
      memory: {
        uploads: createPeerShares(largestAtOnce * uploadBytes),
        files: createHeldFiles(Math.max(largestAtOnce * uploadBytes, leastForFiles)),
      },
      longReads: createKeyedQueue(),
      onFailure: options.onFailure,
    };
    const turns = createTurns();
    // answerInTime never rejects. A rejection would end the process, and with it every other connection.
    const listener: RequestListener = (request, response) =>
      void answerInTime(context, turns, connections.placeOf(request.socket), request, response).catch(() =>
        response.destroy(),
      );
    const server =
      options.tls === undefined ? createHttpServer(timeLimits, listener) : tlsServer(options.tls, listener);
    const { connections: most = 4096, connectionsOfAddress: mostOfPeer = 256 } = options;
    const connections = limitHttpConnections(server, { most, mostOfPeer }, options.tls !== undefined);
    metrics.watch(connections.counts);
    // Without a listener, Node closes the connection without an answer.
    server.on('connect', refuseTunnel);
    server.on('error', (thrown) => options.onFailure?.(acceptFailure(thrown, options.listen)));
    const url = await listen(server, options.listen, options.tls === undefined ? 'http' : 'https');
    return {
      url,
      async close() {
        await closeServer(server, lastAnswersMs);
        await shut();
      },
    };
  } catch (thrown) {
    await shut();
    throw thrown;
  }
}

/**
 * Reports an error such as EMFILE. Node emits it as an event, which without a listener would end the process.
 */
const acceptFailure = (thrown: unknown, address: string): PortcullisError =>
  asPortcullisError(thrown, {
    code: 'TRUST_SERVICE_ACCEPT',
    kind: 'unavailable',
    attempted: 'accept a connection',
    on: address,
    fix: 'raise the limit of open files (LimitNOFILE) if that is the reason',
  });

function tlsServer(tls: NonNullable<TrustServiceOptions['tls']>, listener: RequestListener): Server {
  try {
    return createHttpsServer(timeLimits, tls, listener);
  } catch (thrown) {
    throw asPortcullisError(thrown, {
      code: 'TRUST_SERVICE_TLS',
      kind: 'invalid',
      attempted: 'read the certificate and key of the trust service',
      on: '',
      fix: 'name a PEM certificate chain and its private key',
    });
  }
}

async function listen(server: Server, address: string, scheme: string): Promise<string> {
  const failure = {
    code: 'TRUST_SERVICE_LISTEN',
    kind: 'unavailable',
    attempted: 'listen',
    on: address,
    fix: 'name another address with --listen',
  } as const;
  const at = readListenAddress(address);
  if (at === undefined)
    throw asPortcullisError(new Error('it is not HOST:PORT'), { ...failure, kind: 'invalid' });
  const authority = await listenOn(server, at).catch((thrown: unknown) => {
    throw asPortcullisError(thrown, failure);
  });
  return `${scheme}://${authority}`;
}
