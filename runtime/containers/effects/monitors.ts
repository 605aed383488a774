import { mkdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { dirname } from 'node:path';
import { sameProcess } from '../../../base/process/index.ts';
import type { StartProgram } from '../../../base/reactor/index.ts';
import { hasNoAnswer } from '../../host-paths/host-paths.ts';
import type { HostPaths } from '../../host-paths/host-paths.ts';
import { startMonitor } from '../../monitor/conmon.ts';
import type {
  MonitoredContainer,
  MonitorFolders,
  RestoreInput,
  WaitingMonitor,
} from '../../monitor/conmon.ts';
import { processesWithArgument, signalProcess } from '../../processes/processes.ts';
import { settleAll } from '../../state/settle.ts';
import { logMode } from '../logs/log-mode.ts';
import { requireOpenLog, requirePlainLog } from '../logs/plain-log.ts';
import type { ContainerRecord } from '../record.ts';
import type { Slots } from './slots.ts';
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
   */
  create(record: ContainerRecord): Promise<MonitoredContainer>;
  /** Ends a monitor that was started early and has created nothing. Removes its empty log. */
  abandon(record: ContainerRecord): Promise<void>;
}

/** A monitor, and the uppermost folder that was created for its log. */
interface StartedMonitor {
  readonly monitor: WaitingMonitor;
  readonly made: string | undefined;
}

/** Creates the monitors' starter. If a preparation or a creation fails, the caller calls `abandon`. */
export function createMonitors(deps: MonitorDeps): ContainerMonitors {
  const { slots } = deps;
  /** Monitors that were started in parallel with the preparation. */
  const waiting = new Map<string, Promise<StartedMonitor>>();
  return {
    startEarly: (record, durable) => {
      // Only if a processor would otherwise be idle: every pod that waits for its turn would have a waiting
      // monitor.
      if (slots.count() + waiting.size >= availableParallelism()) return;
      const monitor = startBeside(deps, record, durable);
      waiting.set(record.id, monitor);
      // The error is reported where the monitor is awaited.
      monitor.catch(() => undefined);
    },
    create: (record) => {
      const started = waiting.get(record.id);
      return slots.run(async () => {
        const { monitor } = await (started ??
          makeLog(deps, record).then((made) => start(deps, record, made)));
        waiting.delete(record.id);
        const made = await monitor.create();
        if (record.logPath !== '') await requireOpenLog(deps.paths, record.logPath, made.monitor.pid);
        return made;
      });
    },
    abandon: async (record) => {
      const started = await waiting.get(record.id)?.catch(() => undefined);
      waiting.delete(record.id);
      if (started === undefined) return;
      await started.monitor.abandon();
      await takeLogBack(deps, record, started.made);
    },
  };
}

/**
 * Ends the monitor of a container that is being removed, even if its start was never recorded: after a daemon
 * was killed while it started conmon, the monitor is found by the container id among its arguments. The
 * runtime's `create` dies with the monitor (conmon sets its death signal).
 */
export async function killMonitorOf(record: ContainerRecord): Promise<void> {
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
    for (const identity of processesWithArgument(record.id)) signalProcess(identity, 9);
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

/** Creates the log file and its folders, and the bundle. @returns the uppermost folder that was created */
async function makeLog(
  { paths, places }: MonitorDeps,
  { id, logPath }: ContainerRecord,
): Promise<string | undefined> {
  const file = async (): Promise<string | undefined> => {
    if (logPath === '') return undefined;
    const made = await paths.makeFolder(dirname(logPath), 0o755);
    // The monitor reports this failure: it opens the same path.
    await paths.makeFile(logPath, logMode).catch((thrown: unknown) => {
      if (hasNoAnswer(thrown)) throw thrown;
    });
    await requirePlainLog(paths, logPath);
    return made;
  };
  const [made] = await settleAll([file(), mkdir(places.bundle(id), { recursive: true, mode: 0o700 })]);
  return made;
}

/** A refused request leaves nothing behind: no empty log, no log folder. */
async function takeLogBack(
  { paths }: MonitorDeps,
  { logPath }: ContainerRecord,
  made: string | undefined,
): Promise<void> {
  if (logPath !== '') await paths.removeEmptyLog(logPath, made).catch(() => undefined);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
