import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import type { Server as HttpsServer } from 'node:https';
import {
  closeServer,
  createHttpServer,
  createHttpsServer,
  createPeerShares,
  limitHttpConnections,
  listenOn,
  readListenAddress,
  refuseTunnel,
  smallRequestLimits,
} from '../../base/connections/index.ts';
import type { ListenAddress } from '../../base/connections/index.ts';
import { asPortcullisError, PortcullisError } from '../../base/errors/index.ts';
import { isLoopback } from '../../base/http/index.ts';
import { tlsCertificates } from '../../base/pem/index.ts';
import { createKeyedQueue } from '../../base/queues/index.ts';
import { lockFolder } from '../../base/storage/index.ts';
import { createIntake } from '../intake/intake.ts';
import type { Received } from '../intake/intake.ts';
import { openFleetStore } from '../store/store.ts';
import type { FleetStore } from '../store/store.ts';
import { createIdentify } from './access.ts';
import type { AccessFile, Identify } from './access.ts';
import { answerRequest } from './answer-request.ts';
import { readConsole } from './console-files.ts';
import { createFleetCounts } from './metrics.ts';

export interface FleetServiceOptions {
  /** `HOST:PORT`. Port 0 is any free port. */
  readonly listen: string;
  /** Folder of the database; created if it does not exist. */
  readonly data: string;
  /** PEM. Without it the service uses plain HTTP, on loopback only. */
  readonly tls?: {
    readonly certificate: string;
    readonly key: string;
    /** Authorities whose client certificates name nodes and readers. */
    readonly clientAuthorities?: string;
  };
  /** Without tokens and client certificates, every local process may write and read. */
  readonly access?: AccessFile;
  /** Days after which rows are removed. */
  readonly keepDays: number;
  /** Bytes of rows and texts above which the oldest rows of the largest nodes are removed. */
  readonly keepBytes: number;
  /** Folder with the built console. Without it there is no console. */
  readonly console?: string;
  /** Nodes whose data is removed before the service starts. */
  readonly forget?: readonly string[];
  /** Called with internal errors that occur while a request is answered or rows are removed. */
  readonly onFailure?: (error: PortcullisError) => void;
  /** Called once when the database can no longer be used: only a restart helps. */
  readonly onLost?: (error: PortcullisError) => void;
  /** Milliseconds since 1970. */
  readonly clock?: () => number;
}

export interface FleetService {
  /** For example `http://127.0.0.1:4319` */
  readonly url: string;
  /** The nodes to forget that have sent nothing, such as mistyped names. */
  readonly unknown: readonly string[];
  /**
   * Uses a renewed certificate, and changed authorities and tokens. Without an error, they apply to every
   * later request and connection; with an error, nothing changes.
   * @throws PortcullisError FLEET_TLS
   */
  use(secrets: FleetSecrets): void;
  close(): Promise<void>;
}

/** The parts of the options that come from files which may be replaced while the service runs. */
export type FleetSecrets = Pick<FleetServiceOptions, 'access' | 'tls'>;

const connectionLimits = { most: 8192, mostOfPeer: 2048 };
/** In bytes: of a body as sent, of a decompressed body, and of all bodies at the same time. */
const bodyLimits = { sent: 4 * 1024 * 1024, unpacked: 16 * 1024 * 1024 };
const bodiesMemory = 128 * 1024 * 1024;
/** In bytes: of all answers that readers have not read. */
const responsesMemory = 256 * 1024 * 1024;
/** How long requests in flight may take when the service ends, in ms. */
const lastAnswersMs = 1000;
const expireMs = 600_000;
const dayMs = 86_400_000;

/**
 * Serves the aggregator: receives what nodes send (OTLP/HTTP), and answers readers.
 * @throws PortcullisError FLEET_LISTEN · FLEET_OPEN · FLEET_TLS · FLEET_CONSOLE · STORAGE_IN_USE when another
 * process serves this folder · STORAGE_…
 */
export async function startFleetService(options: FleetServiceOptions): Promise<FleetService> {
  const { tls, data, onFailure, clock = Date.now } = options;
  let { access } = options;
  const at = readListenAddress(options.listen) ?? noAddress(options.listen);
  requireProtection(options, at.host);
  const lock = await lockFolder(data);
  let store: FleetStore | undefined;
  const shut = async (): Promise<void> => {
    await store?.close();
    lock.release();
  };
  try {
    const pages = options.console === undefined ? undefined : await readConsole(options.console);
    store = await openFleetStore(data, options.onLost);
    const unknown: string[] = [];
    for (const name of options.forget ?? []) if (!(await store.forget(name))) unknown.push(name);
    const { database } = store;
    const counts = createFleetCounts(database, clock);
    const intake = createIntake(store, { now: clock, pinnedKey: (name) => access?.nodes.get(name)?.key });
    const identifyBy = (by: FleetSecrets): Identify =>
      createIdentify(by.access, by.tls?.clientAuthorities !== undefined, clock);
    let authorities = tls?.clientAuthorities;
    let unstored = '';
    const context = {
      identify: identifyBy(options),
      reader: database,
      pages,
      counts,
      clock,
      onFailure,
      queries: createKeyedQueue(),
      responses: createPeerShares(responsesMemory),
      receive: {
        intake,
        limits: { ...bodyLimits, memory: { free: bodiesMemory } },
        busy: new Set<string>(),
        onReceived(received: Received) {
          unstored = '';
          counts.received(received);
          removal.grew(received.bytes);
        },
        // Nodes send again and again, so a problem is reported once until another one or a success follows.
        onUnstored(error: PortcullisError) {
          if (unstored !== error.code) onFailure?.(error);
          unstored = error.code;
        },
      },
    };
    const listener: RequestListener = (request: IncomingMessage, response: ServerResponse) =>
      connections.serve(request, response, () => answerRequest(context, request, response));
    const secure = tls === undefined ? undefined : tlsServer(tls, listener);
    const server = secure ?? createHttpServer(smallRequestLimits, listener);
    const connections = limitHttpConnections(server, connectionLimits, tls !== undefined);
    server.on('connect', refuseTunnel);
    const url = await listen(server, options.listen, at, tls === undefined ? 'http' : 'https');
    // A failed accept, for example with EMFILE. Without a listener, this error would end the process.
    server.on('error', (thrown) => onFailure?.(acceptFailure(thrown, options.listen)));
    const removal = openRemoval(store, options, clock);
    return {
      url,
      unknown,
      use(next) {
        if (secure !== undefined && next.tls !== undefined) useIdentity(secure, next.tls);
        access = next.access;
        context.identify = identifyBy(next);
        // A connection that was opened with a removed authority must not stay in use, also if it is busy.
        if (next.tls?.clientAuthorities === authorities) server.closeIdleConnections();
        else server.closeAllConnections();
        authorities = next.tls?.clientAuthorities;
      },
      async close() {
        await closeServer(server, lastAnswersMs);
        await removal.close();
        await intake.settled();
        await shut();
      },
    };
  } catch (thrown) {
    await shut();
    throw thrown;
  }
}

/**
 * Removes old rows at the start, every ten minutes, and when an eighth of the limit has been added: a node
 * can send more than a disk holds within ten minutes. One removal runs at a time.
 */
function openRemoval(
  store: FleetStore,
  { keepDays, keepBytes, onFailure }: FleetServiceOptions,
  clock: () => number,
): { grew(bytes: number): void; close(): Promise<void> } {
  let running: Promise<unknown> = Promise.resolve();
  let [added, isWaiting, isOverdue] = [0, false, false];
  const remove = (): void => {
    [added, isWaiting] = [0, false];
    running = store
      .expire({ before: clock() - keepDays * dayMs, bytes: keepBytes })
      .then(({ overdueMs }) => {
        if (overdueMs > dayMs && !isOverdue) onFailure?.(overdue(overdueMs, keepDays));
        isOverdue = overdueMs > dayMs;
      })
      .catch((thrown: unknown) =>
        onFailure?.(
          asPortcullisError(thrown, {
            code: 'FLEET_FAILED',
            kind: 'internal',
            attempted: 'remove old rows',
            on: '',
            fix: 'read the reason; the next removal is in ten minutes',
          }),
        ),
      );
  };
  remove();
  const timer = setInterval(() => void running.then(remove), expireMs).unref();
  return {
    grew(bytes) {
      added += bytes;
      if (isWaiting || added <= keepBytes / 8) return;
      isWaiting = true;
      void running.then(remove);
    },
    async close() {
      clearInterval(timer);
      await running;
    },
  };
}

const overdue = (ms: number, keepDays: number): PortcullisError =>
  new PortcullisError({
    code: 'FLEET_CLOCK',
    kind: 'precondition',
    attempted: `remove all rows older than ${keepDays} days`,
    on: '',
    why: `the oldest rows came ${Math.floor(ms / dayMs)} days earlier than that by the clock of this host, so they are removed step by step: the rows of six hours every ten minutes`,
    fix: 'correct the clock of this host if it is wrong; otherwise, wait: the rows have not been removed for a long time, or --keep-days was reduced',
  });

/** A listener that other machines can reach must use TLS and access control. */
function requireProtection({ listen, tls, access }: FleetServiceOptions, host: string): void {
  if (isLoopback(host)) return;
  const known = access !== undefined || tls?.clientAuthorities !== undefined;
  if (tls !== undefined && known) return;
  throw new PortcullisError({
    code: 'FLEET_OPEN',
    kind: 'invalid',
    attempted: 'serve the aggregator on',
    on: listen,
    why:
      tls === undefined
        ? 'other machines can reach this address, and tokens and records would not be encrypted'
        : 'other machines can reach this address, and each of them could write and read',
    fix: 'use --tls-cert and --tls-key, and --tokens or --client-ca; or listen on loopback',
  });
}

const acceptFailure = (thrown: unknown, address: string): PortcullisError =>
  asPortcullisError(thrown, {
    code: 'FLEET_FAILED',
    kind: 'unavailable',
    attempted: 'accept a connection on',
    on: address,
    fix: 'raise the limit of open files (LimitNOFILE) if too many files are open',
  });

type ServerFiles = NonNullable<FleetServiceOptions['tls']>;

const tlsServer = (tls: ServerFiles, listener: RequestListener): HttpsServer =>
  withFiles(tls, (checked) => createHttpsServer(smallRequestLimits, checked, listener));

const useIdentity = (server: HttpsServer, tls: ServerFiles): void =>
  withFiles(tls, ({ certificate, key, clientAuthorities }) =>
    server.setSecureContext({
      ...{ cert: certificate, key, minVersion: 'TLSv1.2' },
      ...(clientAuthorities !== undefined && { ca: clientAuthorities }),
    }),
  );

/** @throws PortcullisError FLEET_TLS */
function withFiles<Result>(tls: ServerFiles, act: (checked: ServerFiles) => Result): Result {
  const { clientAuthorities } = tls;
  try {
    // OpenSSL accepts a text without certificates, and would then refuse every client.
    if (clientAuthorities !== undefined) tlsCertificates(clientAuthorities);
  } catch (thrown) {
    throw tlsFailure(
      thrown,
      'read the authorities of client certificates',
      'name a file with PEM certificates of authorities with --client-ca',
    );
  }
  try {
    return act(tls);
  } catch (thrown) {
    throw tlsFailure(
      thrown,
      'read the certificate and key of the aggregator',
      'name a PEM certificate chain, and its private key',
    );
  }
}

const tlsFailure = (thrown: unknown, attempted: string, fix: string): PortcullisError =>
  asPortcullisError(thrown, { code: 'FLEET_TLS', kind: 'invalid', attempted, on: '', fix });

function noAddress(listen: string): never {
  throw new PortcullisError({
    code: 'FLEET_LISTEN',
    kind: 'invalid',
    attempted: 'listen on',
    on: listen,
    why: 'it does not have the form HOST:PORT',
    fix: 'use an address such as 127.0.0.1:4319',
  });
}

async function listen(server: Server, address: string, at: ListenAddress, scheme: string): Promise<string> {
  const authority = await listenOn(server, at).catch((thrown: unknown) => {
    throw asPortcullisError(thrown, {
      code: 'FLEET_LISTEN',
      kind: 'unavailable',
      attempted: 'listen on',
      on: address,
      fix: 'use another address with --listen',
    });
  });
  return `${scheme}://${authority}`;
}
