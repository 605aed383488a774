import type { Worker } from 'node:worker_threads';
import { reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { keepThread, startWorker } from '../../../base/process/index.ts';
import type { ServiceControl } from '../model/model.ts';
import type { ServiceCalls, ServiceFigures, ServiceOwner, ServicesSettings } from './protocol.ts';

/**
 * The services of this host, for as long as it runs. A lost thread is started again and continues from the
 * durable state.
 */
export interface Services extends ServiceControl {
  /** Passes a question of a command, as JSON, and returns the answer. @throws what the question throws */
  ask(question: string): Promise<string>;
  figures(): Promise<ServiceFigures>;
  /** Stops the thread. The kernel keeps its state. */
  close(): Promise<void>;
}

const startAgainMs = 1000;
const closeMs = 5000;

/**
 * Starts the thread in the network namespace of this process, and brings the kernel to the durable state and
 * the files. Resolves when that is done.
 * @throws NETWORK_NEWER_SCHEMA · NETWORK_BALANCER_MISSING · NETWORK_KERNEL_<ERRNO> · NETWORK_SERVICES_FAILED
 */
export async function startServices(settings: ServicesSettings, logger: Logger): Promise<Services> {
  const log = logger.child({ component: 'network' });
  let { balancer } = settings;
  const offer: ServiceOwner = {
    log: (level, fields, message) => log[level](fields, message),
    switched: (kind) => void (balancer = kind),
  };
  const start = (): Worker =>
    startWorker(import.meta.url, './services.worker.ts', { workerData: { ...settings, balancer } });
  const thread = keepThread<ServiceCalls>(start, {
    offer,
    blame: {
      code: 'NETWORK_SERVICES_FAILED',
      kind: 'unavailable',
      attempted: 'send a request to the services thread',
      on: '',
      fix: 'try again; if it fails again, report this with the daemon log',
    },
    againMs: startAgainMs,
    closeMs,
    onLost: (error) =>
      log.error({ why: reasonOf(error) }, 'the services thread failed and is being restarted'),
  });
  try {
    await thread.started;
  } catch (thrown) {
    await thread.close();
    throw thrown;
  }
  return {
    put: (source, services) => thread.call('put', source, services),
    replace: (source, services) => thread.call('replace', source, services),
    remove: (source, names) => thread.call('remove', source, names),
    ask: (question) => thread.call('ask', question),
    figures: () => thread.call('figures'),
    close: () => thread.close(),
  };
}
