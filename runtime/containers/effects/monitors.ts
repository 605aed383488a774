import { rename } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { isPortcullisError, meansDiskFull, meansNoSuchPath, reasonOf } from '../../../base/errors/index.ts';
import { sameProcess } from '../../../base/process/index.ts';
import type { StartProgram } from '../../../base/reactor/index.ts';
import { makeFolder } from '../../../base/storage/index.ts';
import { hasNoAnswer } from '../../host-paths/host-paths.ts';
import type { HostPaths } from '../../host-paths/host-paths.ts';
import { startMonitor } from '../../monitor/conmon.ts';
import { monitorFailed } from '../../monitor/failures.ts';
import type {
  MonitoredContainer,
  MonitorFolders,
  RestoreInput,
  WaitingMonitor,
} from '../../monitor/conmon.ts';
import { nextConfig } from '../../monitor/prepared-monitor.ts';
import { processesWithArgument, signalProcess } from '../../processes/processes.ts';
import type { SandboxRecord } from '../../pods/record.ts';
import { newId } from '../../state/identity.ts';
import { settleAll } from '../../state/settle.ts';
import { logMode } from '../logs/log-mode.ts';
import { realLogPath, requireOpenLog, requirePlainLog } from '../logs/plain-log.ts';
import type { ContainerRecord } from '../record.ts';
import { createMonitorPool } from './monitor-pool.ts';
import { orNoRoom } from './no-room.ts';
import type { MonitorNeeds, ReservedMonitor } from './monitor-pool.ts';
import type { Slots } from '../../processes/slots.ts';
import type { ContainerPlaces } from './container-locations.ts';

export interface MonitorDeps {
  readonly startProgram: StartProgram;
  /** Absolute path. */
  readonly conmon: string;
  readonly folders: MonitorFolders;
  readonly paths: HostPaths;
  readonly places: ContainerPlaces;
  readonly slots: Slots;
  /** Undefined: the runtime creates the container. */
  readonly restoreInput: (record: ContainerRecord) => RestoreInput | undefined;
  /** Where prepared monitors keep their logs until a container has them. */
  readonly monitorLogs: string;
}

type RefusalDeps = Pick<MonitorDeps, 'paths' | 'places' | 'folders'>;

/** A container that is about to be created. */
export interface IntendedContainer {
  readonly config: ContainerRecord['config'];
  readonly sandbox: SandboxRecord;
  readonly logPath: string;
  /** Whether it is restored from a checkpoint. */
  readonly isRestored: boolean;
}

/** Starts the monitors of containers, and ends the monitors of containers that are removed. */
export interface ContainerMonitors {
  /**
   * Starts the monitor in parallel with the preparation of the container, if a processor would otherwise be
   * idle. `create` reports the error.
   * @param durable settles when the record of the container is written
   */
  startEarly(record: ContainerRecord, durable: Promise<unknown>): void;
  /**
   * Lets the monitor create the container, for which the bundle must be complete. Starts the monitor if none
   * was started early.
   * @throws PortcullisError RUNTIME_CREATE_FAILED, RUNTIME_MONITOR_FAILED, RUNTIME_LOG_NOT_PLAIN, and the
   * errors of the log's path
   * @param signal ends the runtime and the monitor, and rejects with its reason
   */
  create(
    record: ContainerRecord,
    signal?: AbortSignal,
  ): Promise<MonitoredContainer & Pick<ContainerRecord, 'monitorLog'>>;
  /** Ends a monitor that was started early and has created nothing. Removes its empty log. */
  abandon(record: ContainerRecord): Promise<void>;
  /** Undoes {@link newId} for an id that no container gets. */
  forget(id: string): Promise<void>;
  /** Prepares a monitor in the background for a container of this pod that is likely to be created soon. */
  expect(sandbox: SandboxRecord): void;
  /** Returns the id of a container, which is the id of a prepared monitor if there is one that fits. */
  newId(intended: IntendedContainer): string;
  /** Returns the name of the file in the bundle to which the configuration is written. */
  configName(id: string): string;
  /** Ends a monitor that was prepared for no container. */
  close(): Promise<void>;
}

/** A monitor, and the uppermost folder that was created for its log. */
interface StartedMonitor {
  readonly monitor: WaitingMonitor;
  readonly made: string | undefined;
  /** The log that a prepared monitor has open, and that becomes the log of the container. */
  readonly log?: string;
}

/** After this time without a new container, a node needs no prepared monitor: two processes and some 3 MB. */
const unusedMs = 60_000;
const fillAfterMs = 2;

/** Returns what a monitor of the pod's next container needs. Undefined: the handler is not configured. */
function needsIn(places: ContainerPlaces, sandbox: SandboxRecord): MonitorNeeds | undefined {
  const handler = places.handlerOf(sandbox);
  if (handler === undefined) return undefined;
  const { logDirectory } = sandbox.config;
  const logsIn = logDirectory === '' ? undefined : dirname(logDirectory);
  return { handler, systemdCgroup: places.usesSystemd(sandbox), logsIn };
}

/** Creates the monitors' starter. If a preparation or a creation fails, the caller calls `abandon`. */
export function createMonitors(deps: MonitorDeps): ContainerMonitors {
  const { slots } = deps;
  /** Monitors that were started in parallel with the preparation. */
  const waiting = new Map<string, Promise<StartedMonitor>>();
  /** Prepared monitors of containers that are being created. */
  const reserved = new Map<string, ReservedMonitor>();
  const pool = createMonitorPool({
    ...{ startProgram: deps.startProgram, conmon: deps.conmon, folders: deps.folders },
    ...{ logs: deps.monitorLogs, bundle: deps.places.bundle },
    isIdle: () => slots.count() + waiting.size === 0,
    unusedMs,
  });
  const needsOf = (sandbox: SandboxRecord) => needsIn(deps.places, sandbox);
  /** The inheritance of the folder in which prepared monitors open their logs. */
  let ownInheritance = '';
  /** Whether a moved log differs in nothing from a log that is created in the folder. */
  const canMoveTo = async (folder: string): Promise<boolean> =>
    (await deps.paths.inheritance(folder)) === ownInheritance;
  const fill = async (needs: MonitorNeeds): Promise<void> => {
    if (needs.logsIn === undefined) return pool.fill(needs);
    ownInheritance = await deps.paths.inheritance(deps.monitorLogs);
    if (await canMoveTo(needs.logsIn)) pool.fill(needs);
  };
  /** Whether the log of a prepared monitor can become the log at this path. */
  const canTakeLog = async (logPath: string): Promise<boolean> => {
    const [isFree, canMove] = await settleAll([
      // The log of an earlier attempt is continued, and something else is refused, by the other way.
      deps.paths.ownFacts(logPath).then(() => false, meansNoSuchPath),
      // The folder of this log may differ from the folder above it.
      canMoveTo(dirname(logPath)).catch(() => false),
    ]);
    return isFree && canMove;
  };
  const startReserved = async (
    record: ContainerRecord,
    monitor: ReservedMonitor,
    durable: Promise<unknown>,
  ): Promise<StartedMonitor> => {
    const [prepared, hasLog] = await settleAll([
      monitor.started.catch(() => undefined),
      monitor.log === undefined || canTakeLog(record.logPath),
      durable,
    ]);
    if (prepared?.isAlive() === true && hasLog) {
      const { log } = monitor;
      return { monitor: prepared, made: undefined, ...(log !== undefined && { log }) };
    }
    await monitor.discard();
    return withNextConfig(deps, record, await startBeside(deps, record, durable));
  };
  const abandon = async (id: string, record?: ContainerRecord): Promise<void> => {
    const started = await waiting.get(id)?.catch(() => undefined);
    waiting.delete(id);
    const monitor = reserved.get(id);
    reserved.delete(id);
    if (started !== undefined) {
      await started.monitor.abandon();
      if (record !== undefined) await takeLogBack(deps, record, started.made);
    }
    await monitor?.discard();
  };
  return {
    expect: (sandbox) => {
      const needs = needsOf(sandbox);
      // The answer to the caller comes first. A container without a prepared monitor starts its own.
      if (needs !== undefined) setTimeout(() => void fill(needs).catch(() => undefined), fillAfterMs).unref();
    },
    newId: ({ config, sandbox, logPath, isRestored }) => {
      const needs = config.tty || config.stdin || isRestored ? undefined : needsOf(sandbox);
      const fits = needs !== undefined && (needs.logsIn === undefined) === (logPath === '');
      const monitor = fits ? pool.claim(needs) : undefined;
      if (monitor === undefined) return newId();
      reserved.set(monitor.id, monitor);
      return monitor.id;
    },
    configName: (id) => (reserved.has(id) ? nextConfig : 'config.json'),
    close: pool.close,
    startEarly: (record, durable) => {
      const prepared = reserved.get(record.id);
      // Only if a processor would otherwise be idle: every pod that waits for its turn would have a waiting
      // monitor.
      if (prepared === undefined && slots.count() + waiting.size >= availableParallelism()) return;
      const monitor =
        prepared === undefined
          ? startBeside(deps, record, durable)
          : startReserved(record, prepared, durable);
      waiting.set(record.id, monitor);
      // The error is reported where the monitor is awaited.
      monitor.catch(() => undefined);
    },
    create: (record, signal) => {
      const started = waiting.get(record.id);
      return slots.run(async () => {
        const {
          monitor,
          made: folder,
          log,
        } = await (started ?? makeLog(deps, record).then((made) => start(deps, record, made)));
        waiting.delete(record.id);
        reserved.delete(record.id);
        const made = await (log === undefined
          ? monitor.create(signal).catch(refusedWithLog(deps, record, folder))
          : createWithLog(deps, record, monitor, { log, signal }));
        if (record.logPath !== '') await requireOpenLog(deps.paths, record, made.monitor.pid);
        return { ...made, ...(log !== undefined && { monitorLog: log }) };
      });
    },
    abandon: (record) => abandon(record.id, record),
    forget: async (id) => {
      // Otherwise there is a container, and its removal needs the bundle.
      const unused = waiting.has(id) ? undefined : reserved.get(id);
      await abandon(id);
      await unused?.drop();
    },
  };
}

/**
 * Ends the monitor of a container that is being removed, even if its start was never recorded: after a daemon
 * was killed while it started conmon, the monitor is found by the container id among its arguments. The
 * runtime's `create` dies with the monitor (conmon sets its death signal).
 * @param bundle the folder that the monitor also names. A client that names the container does not.
 */
export async function killMonitorOf(
  record: Pick<ContainerRecord, 'id' | 'init' | 'monitor'>,
  bundle: string,
): Promise<void> {
  signalProcess(record.init, 9);
  if (record.monitor !== undefined) {
    // The monitor writes the exit file last, and `destroy` removes that file: wait until the monitor is gone.
    for (let attempt = 0; attempt < 100 && sameProcess(record.monitor); attempt += 1) {
      if (attempt === 40) signalProcess(record.monitor, 9);
      await pause(5);
    }
    return;
  }
  for (let attempt = 0; attempt < 5; attempt += 1) {
    for (const identity of processesWithArgument(record.id, [bundle])) signalProcess(identity, 9);
    await pause(20);
  }
}

/**
 * Starts the monitor in parallel with the preparation. The log is created meanwhile, because only the monitor
 * must not exist before the intent is durable.
 */
async function startBeside(
  deps: MonitorDeps,
  record: ContainerRecord,
  durable: Promise<unknown>,
): Promise<StartedMonitor> {
  const log = makeLog(deps, record);
  try {
    const [made] = await settleAll([log, durable]);
    return await start(deps, record, made);
  } catch (cause) {
    await takeLogBack(deps, record, await log.catch(() => undefined));
    throw cause;
  }
}

/** @param made the folder that was created for the log */
async function start(
  deps: MonitorDeps,
  record: ContainerRecord,
  made: string | undefined,
): Promise<StartedMonitor> {
  const { places } = deps;
  const { config, logPath } = record;
  const monitor = await startMonitor({
    startProgram: deps.startProgram,
    conmon: deps.conmon,
    handler: places.handler(record),
    id: record.id,
    bundle: places.bundle(record.id),
    folders: deps.folders,
    logPath,
    terminal: config.tty,
    stdin: config.stdin,
    stdinOnce: config.stdinOnce,
    systemdCgroup: places.cgroup(record).systemd,
    restore: deps.restoreInput(record),
  });
  return { monitor, made };
}

/** Gives a monitor without a prepared runtime the configuration that was written for a prepared one. */
function withNextConfig(
  { places }: Pick<MonitorDeps, 'places'>,
  { id }: ContainerRecord,
  started: StartedMonitor,
): StartedMonitor {
  const bundle = places.bundle(id);
  const { monitor } = started;
  return {
    ...started,
    monitor: {
      abandon: monitor.abandon,
      create: async (signal) => {
        await rename(join(bundle, nextConfig), join(bundle, 'config.json'));
        return monitor.create(signal);
      },
    },
  };
}

/**
 * Lets a prepared monitor create the container, and meanwhile moves the empty log that it has open to the
 * path of the container's log.
 */
async function createWithLog(
  deps: RefusalDeps,
  record: ContainerRecord,
  monitor: WaitingMonitor,
  { log, signal }: { readonly log: string; readonly signal: AbortSignal | undefined },
): Promise<MonitoredContainer> {
  const { paths } = deps;
  const { id, logPath } = record;
  const move = async (): Promise<string | undefined> => {
    const made = await paths.makeFolder(dirname(logPath), 0o755);
    await paths.moveFile(log, await realLogPath(paths, record)).catch((cause: unknown) => {
      if (hasNoAnswer(cause)) throw cause;
      const fix = 'check the folder of the log, and whether its file system has free space';
      const why = `its log cannot be created: ${reasonOf(cause)}`;
      throw monitorFailed(id, why, fix, meansDiskFull(cause) ? 'exhausted' : 'internal');
    });
    return made;
  };
  const moving = move();
  try {
    const [created] = await settleAll([monitor.create(signal), moving]);
    return created;
  } catch (cause) {
    const made = await moving.catch(() => undefined);
    return refusedWithLog(deps, record, made)(cause);
  }
}

/**
 * Returns a handler that takes the log of a container back that was not created, and throws the error. A
 * container that the runtime refuses because of the request is kept until its start, and clients read its
 * log.
 * @param made the folder that was created for the log
 */
function refusedWithLog(
  deps: RefusalDeps,
  record: ContainerRecord,
  made: string | undefined,
): (cause: unknown) => Promise<never> {
  return async (cause) => {
    const error = await orNoRoom(cause, [deps.folders.exits, deps.places.handler(record).stateDir]);
    const isKept =
      isPortcullisError(error) && error.code === 'RUNTIME_CREATE_FAILED' && error.kind === 'precondition';
    if (!isKept) await takeLogBack(deps, record, made);
    throw error;
  };
}

/** Creates the log file and its folders, and the bundle. @returns the uppermost folder that was created */
async function makeLog({ paths, places }: MonitorDeps, record: ContainerRecord): Promise<string | undefined> {
  const { id, logPath } = record;
  const file = async (): Promise<string | undefined> => {
    if (logPath === '') return undefined;
    const made = await paths.makeFolder(dirname(logPath), 0o755);
    const log = await realLogPath(paths, record);
    // The monitor reports this failure: it opens the same path.
    await paths.makeFile(log, logMode).catch((thrown: unknown) => {
      if (hasNoAnswer(thrown)) throw thrown;
    });
    await requirePlainLog(paths, logPath);
    return made;
  };
  return (await settleAll([file(), makeFolder(places.bundle(id))]))[0];
}

/** A refused request leaves nothing behind: no empty log, no log folder. */
async function takeLogBack(
  { paths }: Pick<MonitorDeps, 'paths'>,
  record: ContainerRecord,
  made: string | undefined,
): Promise<void> {
  if (record.logPath === '') return;
  const remove = async (): Promise<void> => {
    const uppermost = made === undefined ? undefined : (await paths.facts(made)).path;
    await paths.removeEmptyLog(await realLogPath(paths, record), uppermost);
  };
  await remove().catch(() => undefined);
}
