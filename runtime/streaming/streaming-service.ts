import { once } from 'node:events';
import { readdir, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { ExecScopes } from '../oci/exec-scope.ts';
import { consoleSocketName } from './console-socket.ts';
import { startListeningWorker, sendToWorker } from './listening-worker.ts';
import type { ListeningWorker } from './listening-worker.ts';
import type { SessionPlan } from './plan.ts';
import { createSessionLedger } from './session-ledger.ts';
import type { DaemonConfig } from '../config/types.ts';

export type StreamingOptions = DaemonConfig['streaming'];

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

/** How long a Worker may take to close before it is terminated, in ms. */
const closeMs = 5_000;

/** How long the Worker is kept without a session and without a waiting URL. It holds about 10 MB. */
const idleMs = 30_000;

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
  const ledger = createSessionLedger(options, log);
  let running: Promise<ListeningWorker> | undefined;
  let idle: NodeJS.Timeout | undefined;
  let stopped = Promise.resolve();
  let opening = 0;
  let closed = false;

  /** Restarts the idle timer when a session ends or a URL is requested. */
  const watchIdle = (): void => {
    clearTimeout(idle);
    idle = setTimeout(() => {
      if (opening > 0 || !ledger.isEmpty()) return watchIdle();
      void stop();
    }, parts.idleMs ?? idleMs).unref();
  };
  const stop = (): Promise<void> => {
    clearTimeout(idle);
    const current = running;
    running = undefined;
    const end = async (): Promise<void> => {
      const listening = await current?.catch(() => undefined);
      if (listening === undefined) return;
      const { worker, ended } = listening;
      worker.ref();
      sendToWorker(worker, { type: 'close' });
      const late = setTimeout(() => void worker.terminate(), closeMs);
      await ended;
      clearTimeout(late);
    };
    // The next Worker may need its port.
    return (stopped = stopped.then(end));
  };

  const start = async (onExit: () => void): Promise<ListeningWorker> => {
    await stopped;
    return startListeningWorker({ ...parts, sessions: ledger.ofWorker }, onExit);
  };
  const begin = (): Promise<ListeningWorker> => {
    const mine = start(() => {
      if (running === mine) running = undefined;
    });
    return mine;
  };
  const ensure = async (): Promise<ListeningWorker> => {
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
        return `${base}/${plan.kind}/${ledger.mint(subject, plan)}`;
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
