import { PortcullisError, errorFromJson, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { startWorker } from '../../base/process/index.ts';
import type { FromNameServer, NameFigures, NameServerSettings, ToNameServer } from './protocol.ts';

/**
 * Answers the names of networks at their gateways, for as long as it runs. A lost thread is started again.
 */
export interface NameServer {
  /** Undefined while its thread is being started again. */
  figures(): Promise<NameFigures | undefined>;
  close(): Promise<void>;
}

const startAgainMs = 1000;

/** The longest wait for an answer from the thread, so that a scrape of metrics is not delayed further. */
const figuresMs = 2000;

/**
 * Resolves when the listeners of all existing networks are open, as far as possible.
 * @throws NETWORK_NEWER_SCHEMA · NETWORK_NAMES_FAILED
 */
export async function startNameServer(settings: NameServerSettings, logger: Logger): Promise<NameServer> {
  const log = logger.child({ component: 'network' });
  let closed = false;
  let again: NodeJS.Timeout | undefined;
  let worker: ReturnType<typeof startWorker>;
  /** Resolves when the last thread has ended, which may be long ago. */
  let ended = Promise.resolve();
  let waiting: ((figures: NameFigures | undefined) => void)[] = [];

  const start = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const started = startWorker(import.meta.url, './name-server.worker.ts', { workerData: settings });
      worker = started;
      ended = new Promise((exited) => started.once('exit', () => exited()));
      started.unref();
      started.on('message', (message: FromNameServer) => {
        if ('level' in message) log[message.level](message.fields, message.message);
        else if ('figures' in message) waiting.splice(0).forEach((report) => report(message.figures));
        else if ('started' in message) resolve();
        else {
          const failure = errorFromJson(message.failed);
          void started.terminate();
          reject(failure);
        }
      });
      let why = 'the thread ended before it was ready';
      started.on('error', (error) => {
        why = reasonOf(error);
        log.error({ why }, 'the thread that answers names failed');
      });
      started.on('exit', () => {
        waiting.splice(0).forEach((report) => report(undefined));
        reject(failed(settings.databasePath, why));
        if (!closed) startAgain();
      });
    });

  const startAgain = (): void => {
    again = setTimeout(() => {
      start().catch((thrown: unknown) =>
        log.error({ why: reasonOf(thrown) }, 'names are not answered; retrying'),
      );
    }, startAgainMs);
    again.unref();
  };

  try {
    await start();
  } catch (thrown) {
    closed = true;
    clearTimeout(again);
    throw thrown;
  }

  return {
    figures: () =>
      new Promise((resolve) => {
        if (closed) return resolve(undefined);
        const late = setTimeout(() => {
          waiting = waiting.filter((each) => each !== report);
          resolve(undefined);
        }, figuresMs);
        const report = (figures: NameFigures | undefined): void => {
          clearTimeout(late);
          resolve(figures);
        };
        waiting.push(report);
        worker.postMessage({ do: 'figures' } satisfies ToNameServer);
      }),
    async close() {
      if (closed) return;
      closed = true;
      clearTimeout(again);
      worker.postMessage({ do: 'close' } satisfies ToNameServer);
      const late = setTimeout(() => void worker.terminate(), figuresMs);
      await ended;
      clearTimeout(late);
    },
  };
}

function failed(databasePath: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_NAMES_FAILED',
    kind: 'internal',
    attempted: 'answer queries for the names of networks',
    on: databasePath,
    why,
    fix: 'report this with the daemon log',
  });
}
