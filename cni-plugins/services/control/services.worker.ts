import { parentPort, workerData } from 'node:worker_threads';
import { asPortcullisError, errorToJson, isPortcullisError } from '../../../base/errors/index.ts';
import { openNetworkDatabase } from '../../attach/database.ts';
import { watchKubernetesServices } from '../kubernetes/watch.ts';
import type { ServiceControl } from '../model.ts';
import { openSwitchableBalancer } from '../switch/open.ts';
import { chooseBalancer } from './choose.ts';
import { createServiceCore } from './core.ts';
import { figuresOf } from './figures.ts';
import { createHeapKeeper } from './heap.ts';
import { openFolderSource, toldOnce } from './folder-source.ts';
import type { FolderSource } from './folder-source.ts';
import { createHealthChecks } from './health/checks.ts';
import { probe } from './health/probe.ts';
import type { FromServices, ServiceAnswer, ServiceCall, ServicesSettings, ToServices } from './protocol.ts';
import { answerQuestion } from './questions.ts';
import { createServiceStore } from './store.ts';
import { createUpkeep } from './upkeep.ts';

/**
 * The one thread of services, in the daemon's own network namespace: database, kernel and health checks. Changes are synchronous and serial; only
 * checks and files take their time.
 */
const port = parentPort;
if (port === null) throw new Error('services.worker runs as a Worker');
const settings = workerData as ServicesSettings;
const post = (message: FromServices): void => port.postMessage(message);
const log = {
  info: (fields: object, message: string) => post({ level: 'info', fields, message }),
  warn: (fields: object, message: string) => post({ level: 'warn', fields, message }),
  error: (fields: object, message: string) => post({ level: 'error', fields, message }),
};

const tickMs = 1000;
const lookMs = 500;

async function start(): Promise<void> {
  const store = createServiceStore(openNetworkDatabase(settings.databasePath));
  const kind = chooseBalancer(settings.balancer);
  const balancer = openSwitchableBalancer(kind, log);
  log.info({ balancer: kind, asked: settings.balancer }, 'services are balanced');
  const checks = createHealthChecks({
    probe,
    random: Math.random,
    isWell: (name, backend) => core.held.get(name)?.unwell.has(backend) !== true,
    onJudged(name, backend, isWell) {
      guarded(() => core.judged(name, backend, isWell));
    },
  });
  const core = createServiceCore({ store, log, checks, now: Date.now }, balancer);
  const upkeep = createUpkeep(core, log, Date.now, () => performance.now());
  const failed = toldOnce(log);
  /** What is not the kernel's refusal leaves memory and disk apart: the thread ends, and the next one begins with what is durable. */
  const guarded = (act: () => void): void => {
    try {
      act();
    } catch (thrown) {
      if (!isKernels(thrown)) throw thrown;
      failed(thrown, 'services could not be brought to the kernel; it is tried again each second');
    }
  };

  balancer.reconcile(core.judgeFor(balancer));
  for (const { service } of core.held.values()) checks.follow(service);

  const { folder } = settings;
  const files: FolderSource | undefined =
    folder === undefined ? undefined : openFolderSource(folder, (services, whole) => core.apply('files', services, whole), log);
  const notApplied = (thrown: unknown): void => {
    // What the disk did not take is in memory already: the next thread reads what is durable.
    if ((thrown as NodeJS.ErrnoException).code === 'ERR_SQLITE_ERROR')
      setImmediate(() => {
        throw thrown;
      });
    failed(thrown, 'the files of services could not be applied; it is tried again');
  };
  await files?.look().catch(notApplied);
  let looking = false;
  const look = setInterval(() => {
    if (looking || files === undefined) return;
    looking = true;
    files
      .look()
      .catch(notApplied)
      .finally(() => (looking = false));
  }, lookMs);
  const keepHeap = createHeapKeeper();
  const ticking = setInterval(() => {
    upkeep.tick();
    keepHeap();
  }, tickMs);

  const control: ServiceControl = {
    put: async (source, services) => core.apply(source, services, false),
    replace: async (source, services) => core.apply(source, services, true),
    remove: async (source, names) => core.remove(source, names),
  };

  const cluster = settings.kubernetes && watchKubernetesServices({ ...settings.kubernetes, control: endingWhenApart(control), log });

  const answer = async (call: ServiceCall): Promise<ServiceAnswer> => {
    switch (call.do) {
      case 'put':
        return { refused: await control.put(call.source, call.services) };
      case 'replace':
        return { refused: await control.replace(call.source, call.services) };
      case 'take':
        await control.remove(call.source, call.names);
        return {};
      case 'figures':
        return { figures: { ...figuresOf(core, checks, upkeep), ...(cluster && { kubernetes: cluster.figures() }) } };
      case 'question':
        return { text: answerQuestion(call.text, { core, checks, balancer, log, problems: () => files?.problems() ?? [] }) };
      case 'close':
        clearInterval(look);
        clearInterval(ticking);
        await cluster?.close();
        checks.close();
        balancer.close();
        core.close();
        return {};
    }
  };

  port?.on('message', ({ sequence, call }: ToServices) => {
    answer(call).then(
      (answered) => {
        post({ sequence, answer: answered });
        if (call.do === 'close') port.close();
      },
      (thrown: unknown) => {
        const failure = {
          code: 'NETWORK_SERVICES_FAILED',
          kind: 'internal',
          attempted: `services ${call.do}`,
          on: '',
          fix: 'report this with the daemon log',
        } as const;
        post({ sequence, error: errorToJson(asPortcullisError(thrown, failure)) });
        endIfApart(thrown);
      },
    );
  });
}

/** The thread ends of what leaves memory and disk apart. */
function endIfApart(thrown: unknown): void {
  if (isKernels(thrown) || isPortcullisError(thrown)) return;
  setImmediate(() => {
    throw thrown;
  });
}

/** For a source that lives in this thread and goes on after a failure. */
function endingWhenApart(control: ServiceControl): ServiceControl {
  const guarded = async <T>(call: Promise<T>): Promise<T> => {
    try {
      return await call;
    } catch (thrown) {
      endIfApart(thrown);
      throw thrown;
    }
  };
  return {
    put: (...given) => guarded(control.put(...given)),
    replace: (...given) => guarded(control.replace(...given)),
    remove: (...given) => guarded(control.remove(...given)),
  };
}

const isKernels = (thrown: unknown): boolean => isPortcullisError(thrown) && thrown.code.startsWith('NETWORK_KERNEL_');

try {
  await start();
  post({ started: true });
} catch (thrown) {
  const failure = {
    code: 'NETWORK_SERVICES_FAILED',
    kind: 'internal',
    attempted: 'balance services',
    on: settings.databasePath,
    fix: 'report this with the daemon log',
  } as const;
  post({ failed: errorToJson(asPortcullisError(thrown, failure)) });
}
