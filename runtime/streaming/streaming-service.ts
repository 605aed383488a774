import { AsyncLocalStorage } from 'node:async_hooks';
import { once } from 'node:events';
import { readFile, readdir, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { startWorker } from '../../base/process/index.ts';
import type { ExecScopes } from '../oci/exec-scope.ts';
import { consoleSocketName } from './console-socket.ts';
import type { FromWorker, SessionPlan, StreamingWorkerData, ToWorker } from './plan.ts';
import { createTokens } from './tokens.ts';

export interface StreamingOptions {
  readonly address: string;
  /** 0 means any free port. */
  readonly port: number;
  /** Both empty: plain HTTP. */
  readonly tls: { readonly certFile: string; readonly keyFile: string };
  /** Seconds. */
  readonly idleTimeout: number;
  readonly maxSessions: number;
  readonly maxSessionsPerContainer: number;
}

/** Hands out URLs of streams, and counts the sessions behind them. The streams themselves run in a Worker. */
export interface StreamingService {
  /**
   * Returns the URL at which a client can run the plan once, within a minute.
   * @param subject the container or sandbox that the session counts for
   * @throws PortcullisError RUNTIME_STREAMING_LIMIT (exhausted), RUNTIME_STREAMING_LISTEN
   */
  open(subject: string, plan: SessionPlan): Promise<string>;
  /** Ends all sessions. */
  close(): Promise<void>;
}

/** How long the Worker is kept without a session and without a waiting URL. It holds about 10 MB. */
const idleMs = 30_000;

interface Pending {
  readonly subject: string;
  readonly plan: SessionPlan;
}

/** The subject and the plan of each session of a Worker, by the number that the Worker gave it. */
type Sessions = Map<number, Pending>;

/** One Worker, from its start to its exit. The next one may start while this one ends. */
interface Running {
  readonly worker: Worker;
  readonly base: string;
}

/**
 * Opens the service. Also removes what a killed daemon left in the folder for console sockets, whose path
 * must be short.
 * @throws RUNTIME_STREAMING_LISTEN when the configured port is taken, or the address does not belong to the
 * node
 */
export async function openStreamingService(parts: {
  readonly options: StreamingOptions;
  readonly scopes: ExecScopes;
  readonly socketFolder: string;
  readonly log: Logger;
  readonly idleMs?: number;
}): Promise<StreamingService> {
  const { options, log, socketFolder } = parts;
  await requireFreePort(parts.options);
  const left = (await readdir(socketFolder)).filter((name) => consoleSocketName.test(name));
  await Promise.all(left.map((name) => rm(join(socketFolder, name), { force: true })));
  const tokens = createTokens<Pending>(() => performance.now());
  /** The sessions of every running Worker. */
  const live = new Set<Sessions>();
  let running: Promise<Running> | undefined;
  let idle: NodeJS.Timeout | undefined;
  let stopped = Promise.resolve();
  let opening = 0;
  let closed = false;
  // The end of a Worker does not belong to the request that happened to start it.
  const outside = AsyncLocalStorage.snapshot();

  const open = (): Pending[] => [...[...live].flatMap((sessions) => [...sessions.values()]), ...tokens.waiting()];

  const answer = (worker: Worker, message: ToWorker): void => worker.postMessage(message);
  const take = (worker: Worker, sessions: Sessions, { id, kind, token }: Extract<FromWorker, { type: 'take' }>): void => {
    const pending = tokens.take(token);
    if (pending?.plan.kind !== kind) return answer(worker, { type: 'refused', id, status: 404, why: '404 page not found' });
    sessions.set(id, pending);
    answer(worker, { type: 'taken', id, plan: pending.plan });
  };
  const ended = (sessions: Sessions, { id, how }: Extract<FromWorker, { type: 'ended' }>): void => {
    const session = sessions.get(id);
    sessions.delete(id);
    if (session !== undefined) log.info({ kind: session.plan.kind, subject: session.subject, ...how }, 'stream ended');
  };

  /** Restarts the idle timer when a session ends or a URL is requested. */
  const watchIdle = (): void => {
    clearTimeout(idle);
    idle = setTimeout(() => {
      if (opening > 0 || open().length > 0) return watchIdle();
      void stop();
    }, parts.idleMs ?? idleMs).unref();
  };
  const stop = (): Promise<void> => {
    clearTimeout(idle);
    const current = running;
    running = undefined;
    const end = async (): Promise<void> => {
      const worker = await current?.then(
        (one) => one.worker,
        () => undefined,
      );
      if (worker === undefined) return;
      const gone = once(worker, 'exit');
      worker.ref();
      answer(worker, { type: 'close' });
      await gone;
    };
    // The next Worker may need its port.
    return (stopped = stopped.then(end));
  };

  const start = async (onExit: () => void): Promise<Running> => {
    await stopped;
    const { address, port, tls } = options;
    const secure = tls.certFile !== '';
    const data: StreamingWorkerData = {
      address,
      port,
      // Read at each start, so that a renewed certificate takes effect.
      ...(secure && { tls: { cert: await readFile(tls.certFile, 'utf8'), key: await readFile(tls.keyFile, 'utf8') } }),
      idleTimeoutMs: options.idleTimeout * 1_000,
      maxSessions: options.maxSessions,
      scopes: parts.scopes,
      socketFolder,
    };
    const sessions: Sessions = new Map();
    const worker = startWorker(import.meta.url, './streaming.worker.ts', { workerData: data });
    const listening = new Promise<number>((resolve, reject) => {
      worker.on('message', (message: FromWorker) => {
        if (message.type === 'listening') resolve(message.port);
        else if (message.type === 'failed') reject(new Error(message.why));
        else if (message.type === 'take') take(worker, sessions, message);
        else outside(ended, sessions, message);
      });
      worker.once('error', reject);
      worker.once('exit', () => reject(new Error('the Worker has ended')));
    });
    worker.once('error', (cause) => log.error({ cause: reasonOf(cause) }, 'the streaming Worker failed; its sessions are lost'));
    live.add(sessions);
    worker.once('exit', () => {
      live.delete(sessions);
      onExit();
    });
    worker.unref();
    const bound = await listening;
    return { worker, base: `${secure ? 'https' : 'http'}://${hostOf(address)}:${bound}` };
  };

  const begin = (): Promise<Running> => {
    const mine = start(() => {
      if (running === mine) running = undefined;
    });
    return mine;
  };
  const ensure = async (): Promise<Running> => {
    if (closed) throw notListening(options, 'the daemon is stopping');
    const mine = (running ??= begin());
    watchIdle();
    try {
      return await mine;
    } catch (cause) {
      if (running === mine) running = undefined;
      throw notListening(options, reasonOf(cause));
    }
  };

  return {
    open: async (subject, plan) => {
      opening += 1;
      try {
        const { base } = await ensure();
        const all = open();
        if (all.length >= options.maxSessions) throw tooMany(subject, `${all.length} sessions are open`, 'streaming.maxSessions');
        const mine = all.filter((one) => one.subject === subject).length;
        if (mine >= options.maxSessionsPerContainer)
          throw tooMany(subject, `it has ${mine} sessions open`, 'streaming.maxSessionsPerContainer');
        const token = tokens.mint({ subject, plan });
        if (token === undefined) throw tooMany(subject, 'too many stream URLs wait for their clients', 'nothing: they end within a minute');
        return `${base}/${plan.kind}/${token}`;
      } finally {
        opening -= 1;
      }
    },
    close: async () => {
      closed = true;
      await stop();
    },
  };
}

/**
 * Checks at the start of the daemon that the port is free, because the Worker only listens with the first
 * session. So the operator learns at once if the port is taken.
 */
async function requireFreePort(options: StreamingOptions): Promise<void> {
  const { address: host, port } = options;
  const server = createServer();
  try {
    await once(server.listen({ host, port, exclusive: true }), 'listening');
  } catch (cause) {
    throw notListening(options, reasonOf(cause));
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
}

/** Returns an address that a client can connect to when the server listens on all addresses. */
function hostOf(address: string): string {
  if (address === '0.0.0.0' || address === '') return '127.0.0.1';
  if (address === '::') return '[::1]';
  return address.includes(':') ? `[${address}]` : address;
}

function tooMany(subject: string, why: string, limit: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_STREAMING_LIMIT',
    kind: 'exhausted',
    attempted: 'open a stream to',
    on: subject.slice(0, 13),
    why,
    fix: `try again when some have ended; the limit is ${limit}`,
  });
}

function notListening(options: StreamingOptions, why: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_STREAMING_LISTEN',
    kind: 'unavailable',
    attempted: 'serve streams on',
    on: `${options.address}:${options.port}`,
    why,
    fix: 'correct `streaming` in the configuration',
  });
}
