import { PortcullisError, errorFromJson, reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { startWorker } from '../../../base/process/index.ts';
import type { ServiceControl } from '../model.ts';
import type { FromServices, ServiceAnswer, ServiceCall, ServiceFigures, ServicesSettings, ToServices } from './protocol.ts';

/** The services of this host, for as long as it runs; a thread that is lost is started again, and goes on from what is durable. */
export interface Services extends ServiceControl {
  /** A question of a command as JSON, and its answer. @throws what the question throws */
  ask(question: string): Promise<string>;
  figures(): Promise<ServiceFigures>;
  /** What the kernel holds stays. */
  close(): Promise<void>;
}

const startAgainMs = 1000;
const closeMs = 5000;

interface Waiting {
  resolve(answer: ServiceAnswer): void;
  reject(error: Error): void;
}

/**
 * Starts the thread, in the network namespace of this process, and brings the kernel to what is durable and what the files say. Resolves when that is done.
 * @throws NETWORK_NEWER_SCHEMA · NETWORK_BALANCER_MISSING · NETWORK_KERNEL_<ERRNO> · NETWORK_SERVICES_FAILED
 */
export async function startServices(settings: ServicesSettings, logger: Logger): Promise<Services> {
  const log = logger.child({ room: 'network' });
  let closed = false;
  let again: NodeJS.Timeout | undefined;
  let sequence = 0;
  let worker: ReturnType<typeof startWorker>;
  const waiting = new Map<number, Waiting>();

  const start = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const started = startWorker(import.meta.url, './services.worker.ts', { workerData: settings });
      worker = started;
      started.unref();
      let why = 'it ended before it had begun';
      started.on('message', (message: FromServices) => {
        if ('level' in message) log[message.level](message.fields, message.message);
        else if ('started' in message) resolve();
        else if ('failed' in message) {
          reject(errorFromJson(message.failed));
          void started.terminate();
        } else {
          const asked = waiting.get(message.sequence);
          waiting.delete(message.sequence);
          if ('answer' in message) asked?.resolve(message.answer);
          else asked?.reject(errorFromJson(message.error));
        }
      });
      started.on('error', (error) => {
        why = reasonOf(error);
        log.error({ why }, 'the thread of services failed');
      });
      started.on('exit', () => {
        const lost = failed(why);
        for (const each of waiting.values()) each.reject(lost);
        waiting.clear();
        reject(lost);
        if (!closed) startAgain();
      });
    });

  const startAgain = (): void => {
    again = setTimeout(() => {
      start().catch((thrown: unknown) => log.error({ why: reasonOf(thrown) }, 'services are not looked after; it is tried again'));
    }, startAgainMs);
    again.unref();
  };

  const call = (asked: ServiceCall): Promise<ServiceAnswer> =>
    new Promise((resolve, reject) => {
      if (closed && asked.do !== 'close') return reject(failed('it is closed'));
      sequence += 1;
      waiting.set(sequence, { resolve, reject });
      worker.postMessage({ sequence, call: asked } satisfies ToServices);
    });

  try {
    await start();
  } catch (thrown) {
    closed = true;
    clearTimeout(again);
    throw thrown;
  }

  return {
    put: async (source, services) => (await call({ do: 'put', source, services })).refused ?? [],
    replace: async (source, services) => (await call({ do: 'replace', source, services })).refused ?? [],
    async remove(source, names) {
      await call({ do: 'take', source, names });
    },
    ask: async (text) => (await call({ do: 'question', text })).text ?? '{}',
    async figures() {
      const { figures } = await call({ do: 'figures' });
      if (figures === undefined) throw failed('it gave no figures');
      return figures;
    },
    async close() {
      if (closed) return;
      closed = true;
      clearTimeout(again);
      const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
      const late = setTimeout(() => void worker.terminate(), closeMs);
      await call({ do: 'close' }).catch(() => undefined);
      await ended;
      clearTimeout(late);
    },
  };
}

function failed(why: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_SERVICES_FAILED',
    kind: 'unavailable',
    attempted: 'ask the thread of services',
    on: '',
    why,
    fix: 'try again; if it stays, report this with the daemon log',
  });
}
