import { workerData } from 'node:worker_threads';
import { parseJson } from '../../../base/json/index.ts';
import { isPortcullisError } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { serveThread } from '../../../base/process/index.ts';
import type { Caller } from '../../../base/process/index.ts';
import { openNetworkDatabase } from '../../database/database.ts';
import { readableAt } from '../../followed-files/checked-folder.ts';
import { openUnservedAddresses } from '../kubernetes/unserved-addresses.ts';
import { watchKubernetesServices } from '../kubernetes/watch.ts';
import { followNetworkServices } from '../network-services/follow.ts';
import { forgetSpannedNetworks } from '../network-services/spanned.ts';
import { giveMemoryBack, givingMemoryBack } from '../model/memory.ts';
import type { PortionControl, ServiceControl } from '../model/model.ts';
import { openSwitchableBalancer } from '../switch/open.ts';
import { chooseBalancer } from './choose.ts';
import { createServiceCore } from './core.ts';
import type { ServiceCore } from './core.ts';
import { figuresOf } from './figures.ts';
import { openFolderSource, reportedOnce } from './folder-source.ts';
import type { FolderSource } from './folder-source.ts';
import { createHealthChecks } from './health/checks.ts';
import { probe } from './health/probe.ts';
import type { ServiceCalls, ServiceOwner, ServiceQuestion, ServicesSettings } from './protocol.ts';
import { answerQuestion } from './questions.ts';
import { createServiceStore } from './store.ts';
import { createUpkeep } from './upkeep.ts';

/**
 * The only thread of services, in the daemon's own network namespace: database, kernel and health checks.
 * Changes are synchronous and serial. Only checks and files are asynchronous.
 */
const settings = workerData as ServicesSettings;

const tickMs = 1000;
const lookMs = 500;
/** Until the `nft flush ruleset` of another program is noticed, no service can be reached. */
const repairMs = 100;

async function start(
  owner: Caller<ServiceOwner>,
): Promise<{ readonly offer: ServiceCalls; close(): Promise<void> }> {
  const log = {
    info: (fields: object, message: string) => owner.notify('log', 'info', fields, message),
    warn: (fields: object, message: string) => owner.notify('log', 'warn', fields, message),
    error: (fields: object, message: string) => owner.notify('log', 'error', fields, message),
  };
  const database = openNetworkDatabase(settings.databasePath);
  if (settings.ended?.includes('overlay') === true) forgetSpannedNetworks(database);
  const store = createServiceStore(database);
  const kind = chooseBalancer(settings.balancer);
  const balancer = openSwitchableBalancer(kind, log);
  log.info({ balancer: kind, asked: settings.balancer }, 'services are balanced');
  const checks = createHealthChecks({
    probe,
    random: Math.random,
    isWell: (name, backend) => core.held.get(name)?.unhealthy.has(backend) !== true,
    onJudged(name, backend, isWell) {
      guarded(() => core.judged(name, backend, isWell));
    },
  });
  const core = createServiceCore({ store, log, checks, now: Date.now }, balancer);
  const upkeep = createUpkeep(core, log, Date.now, () => performance.now());
  const failed = reportedOnce(log);
  /**
   * An error that is not a refusal by the kernel may leave memory and disk different. The thread then ends,
   * and the next one starts from the durable state.
   */
  const guarded = (act: () => void): void => {
    try {
      act();
    } catch (thrown) {
      if (!isKernels(thrown)) throw thrown;
      failed(thrown, 'services could not be applied to the kernel; retrying every second');
    }
  };

  const unserved = openUnservedAddresses();
  const onRanges = (prefixes: readonly string[]): void => guarded(() => unserved.set(prefixes));
  balancer.reconcile(core.judgeFor(balancer));
  // These rules are left from a cluster that is no longer followed.
  if (settings.kubernetes === undefined) onRanges([]);
  for (const { service } of givingMemoryBack(core.held.values())) checks.follow(service);

  const files = openFiles(core, log);
  const notApplied = (thrown: unknown): void => {
    // Memory already has what the disk did not take. The next thread reads the durable state.
    if (isStorages(thrown))
      setImmediate(() => {
        throw thrown;
      });
    failed(thrown, 'the service files could not be applied; retrying');
  };
  await files?.settled();
  await files?.look().catch(notApplied);
  for (const source of settings.ended ?? []) guarded(() => core.apply(source, [], true));
  const look = lookRepeatedly(files, notApplied);
  const ticking = setInterval(() => {
    upkeep.tick();
    guarded(() => unserved.repair());
    giveMemoryBack();
  }, tickMs);
  const repairing = setInterval(() => upkeep.look(), repairMs);

  // Objects that another program removed are recreated before a change, so that the repair is logged and
  // counted.
  const control = controlOf(core, () => upkeep.look());
  const portions: PortionControl = {
    ...control,
    retain: async (source, names) => orEnd(() => core.retain(source, names)),
  };
  const cluster =
    settings.kubernetes &&
    watchKubernetesServices({ ...settings.kubernetes, control: portions, onRanges, log });
  const networks = followNetworkServices({
    databasePath: settings.databasePath,
    ofServices: database,
    log,
    apply: (services) => orEnd(() => core.apply('networks', services, true)),
    isEnding: (name) => [...core.ending].some((key) => core.standings.get(key)?.server.service === name),
  });

  return {
    offer: {
      ...control,
      figures: () => ({
        ...figuresOf(core, checks, upkeep),
        ...(cluster && { kubernetes: cluster.figures() }),
      }),
      ask(text) {
        const question = parseJson(text) as ServiceQuestion;
        const answer = orEnd(() =>
          answerQuestion(question, { core, checks, balancer, log, problems: () => files?.problems() ?? [] }),
        );
        if (question.do === 'switch') owner.notify('switched', balancer.kind);
        return answer;
      },
    },
    async close() {
      clearInterval(look);
      clearInterval(ticking);
      clearInterval(repairing);
      files?.close();
      await cluster?.close();
      await networks.close();
      checks.close();
      balancer.close();
      unserved.close();
      core.close();
    },
  };
}

/** Opens the source of service files. Returns undefined if there is no folder of service files. */
function openFiles(core: ServiceCore, log: Pick<Logger, 'error' | 'info'>): FolderSource | undefined {
  const { folder } = settings;
  if (folder === undefined) return undefined;
  return openFolderSource({
    folder,
    at: readableAt(folder, settings.checkedFolders),
    storedAt: `${settings.databasePath}.service-files`,
    log,
    apply: (services, whole) => core.apply('files', services, whole),
    standing(name) {
      const each = core.held.get(name);
      return each?.source === 'files' ? each.service : undefined;
    },
  });
}

/** Looks for changes of the service files, one look at a time. @returns the timer */
function lookRepeatedly(
  files: Pick<FolderSource, 'look'> | undefined,
  failed: (thrown: unknown) => void,
): NodeJS.Timeout {
  let looking = false;
  return setInterval(() => {
    if (looking || files === undefined) return;
    looking = true;
    files
      .look()
      .catch(failed)
      .finally(() => (looking = false));
  }, lookMs);
}

/** @param before called before each change; it throws nothing */
function controlOf(
  core: ServiceCore,
  before: () => void,
): Omit<ServiceControl, 'put'> & Pick<PortionControl, 'put'> {
  const changing = async <T>(act: () => T): Promise<T> => {
    before();
    return orEnd(act);
  };
  return {
    put: (source, services, isContinued) => changing(() => core.apply(source, services, false, isContinued)),
    replace: (source, services) => changing(() => core.apply(source, services, true)),
    remove: (source, names) => changing(() => core.remove(source, names)),
  };
}

/**
 * Ends the thread after an error that may leave memory and disk different: a storage failure, or any error
 * that is not a coded failure.
 */
function orEnd<T>(act: () => T): T {
  try {
    return act();
  } catch (thrown) {
    if (!isPortcullisError(thrown) || isStorages(thrown))
      setImmediate(() => {
        throw thrown;
      });
    throw thrown;
  }
}

const isStorages = (thrown: unknown): boolean =>
  isPortcullisError(thrown) && thrown.code.startsWith('STORAGE_');
const isKernels = (thrown: unknown): boolean =>
  isPortcullisError(thrown) && thrown.code.startsWith('NETWORK_KERNEL_');

await serveThread<ServiceOwner>(
  (call) => ({
    code: 'NETWORK_SERVICES_FAILED',
    kind: 'internal',
    attempted: `serve the call ${call} of the services thread`,
    on: settings.databasePath,
    fix: 'report this with the daemon log',
  }),
  start,
);
