import { chmod, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { StartProgram } from '../../../base/reactor/index.ts';
import type { MonitorFolders } from '../../monitor/conmon.ts';
import { filesOfPrepared, prepareMonitor } from '../../monitor/prepared-monitor.ts';
import type { PreparedMonitor } from '../../monitor/prepared-monitor.ts';
import { endProcessesWithArgument } from '../../processes/processes.ts';
import type { RuntimeHandler } from '../../oci/runtime-handler.ts';
import { logMode } from '../logs/log-mode.ts';
import { newId } from '../../state/identity.ts';

export interface MonitorPoolDeps {
  readonly startProgram: StartProgram;
  /** Absolute path. */
  readonly conmon: string;
  readonly folders: MonitorFolders;
  /** The folder of the logs of prepared monitors. It must exist. */
  readonly logs: string;
  readonly bundle: (id: string) => string;
  /** Whether a processor would otherwise be idle. */
  readonly isIdle: () => boolean;
  /** An unused monitor is ended after this time. */
  readonly unusedMs: number;
}

/** The requirements that a prepared monitor must meet: they are among the arguments of conmon. */
export interface MonitorNeeds {
  readonly handler: RuntimeHandler;
  readonly systemdCgroup: boolean;
  /**
   * The folder of the log folders of pods. The log is moved to a folder below it, on the same mount.
   * Undefined: the container has no log.
   */
  readonly logsIn: string | undefined;
}

/** A monitor that was started for the next container, whose id it has. */
export interface ReservedMonitor {
  readonly id: string;
  /** The empty log that the monitor has open. Undefined: it writes none. */
  readonly log: string | undefined;
  /** Rejects if the monitor could not be started. */
  readonly started: Promise<PreparedMonitor>;
  /** Ends the monitor before the container is created, and removes its log and its files in the bundle. */
  discard(): Promise<void>;
  /** Does the same for an id that no container gets, and removes the bundle. Never rejects. */
  drop(): Promise<void>;
}

/**
 * Keeps at most one monitor whose runtime waits for the configuration of the next container
 * (docs/decisions/0137-prepared-monitors.md).
 */
export interface MonitorPool {
  /**
   * Starts a monitor in the background if there is none and a processor is idle. A monitor for other needs is
   * replaced, because the pod that became ready last is the likeliest to get the next container.
   */
  fill(needs: MonitorNeeds): void;
  /** Takes the monitor out of the pool, also if it is just being started. */
  claim(needs: MonitorNeeds): ReservedMonitor | undefined;
  /** Ends a monitor that was not claimed. */
  close(): Promise<void>;
}

interface Pooled extends ReservedMonitor {
  readonly program: string;
  readonly needs: MonitorNeeds;
  /** Undefined: it is being started. */
  isAlive?: () => boolean;
}

/** Only crun reads its configuration first and once, and only with it the start takes long in comparison. */
function canBePrepared({ handler }: MonitorNeeds): boolean {
  return handler.kind === 'crun' && handler.tasks === undefined;
}

function isFor(
  { needs: { handler, systemdCgroup, logsIn } }: Pick<Pooled, 'needs'>,
  needs: MonitorNeeds,
): boolean {
  return handler === needs.handler && systemdCgroup === needs.systemdCgroup && logsIn === needs.logsIn;
}

/** Removes the log of a prepared monitor. Absent: success. */
export async function removeMonitorLog(logs: string, id: string): Promise<void> {
  for (const name of [id, `${id}.tmp`]) await rm(join(logs, name), { recursive: true, force: true });
}

/** Creates the pool. It is empty until `fill` is called. */
export function createMonitorPool(deps: MonitorPoolDeps): MonitorPool {
  let pooled: Pooled | undefined;
  let closed = false;
  let unused: NodeJS.Timeout | undefined;
  const endings = new Set<Promise<void>>();

  /** Ends a monitor that no container will have, with its bundle. */
  const drop = (entry: Pooled): Promise<void> => {
    const { id } = entry;
    const ending = entry
      .discard()
      .then(async () => {
        await rm(join(deps.folders.attach, id.slice(0, 16)), { recursive: true, force: true });
        await rm(join(deps.folders.exits, id), { force: true });
        // Last: if this process is killed before, the next start finds the rest by the bundle.
        await rm(deps.bundle(id), { recursive: true, force: true });
      })
      // The next start of the daemon removes what is left.
      .catch(() => undefined)
      .finally(() => endings.delete(ending));
    endings.add(ending);
    return ending;
  };
  const take = (): Pooled | undefined => {
    clearTimeout(unused);
    const entry = pooled;
    pooled = undefined;
    return entry;
  };
  const start = async (id: string, log: string | undefined, { handler, systemdCgroup }: MonitorNeeds) => {
    const bundle = deps.bundle(id);
    await mkdir(bundle, { mode: 0o700 });
    const monitor = await prepareMonitor({
      ...{ startProgram: deps.startProgram, conmon: deps.conmon, folders: deps.folders },
      ...{ handler, id, bundle, logPath: log ?? '', systemdCgroup },
      ...{ terminal: false, stdin: false, stdinOnce: false },
    });
    try {
      if (log !== undefined) await chmod(log, logMode);
    } catch (cause) {
      await monitor.abandon();
      throw cause;
    }
    return monitor;
  };
  return {
    fill: (needs) => {
      if (closed || !canBePrepared(needs) || !deps.isIdle()) return;
      if (pooled !== undefined && isFor(pooled, needs)) return;
      const other = take();
      if (other !== undefined) void drop(other);
      const id = newId();
      const log = needs.logsIn === undefined ? undefined : join(deps.logs, id);
      const started = start(id, log, needs);
      const entry: Pooled = {
        ...{ id, log, started, needs, program: needs.handler.program },
        discard: async () => {
          await started.then(
            (monitor) => monitor.abandon(),
            () => endProcessesWithArgument(id, [deps.bundle(id)]),
          );
          const files = filesOfPrepared(deps.bundle(id)).map((file) => rm(file, { force: true }));
          await Promise.all([...files, removeMonitorLog(deps.logs, id)]);
        },
        drop: () => drop(entry),
      };
      pooled = entry;
      started.then(
        (monitor) => (entry.isAlive = monitor.isAlive),
        // The container starts its own monitor, whose error is reported.
        () => {
          if (pooled === entry) void drop(take() ?? entry);
        },
      );
      unused = setTimeout(() => {
        if (pooled === entry) void drop(take() ?? entry);
      }, deps.unusedMs).unref();
    },
    claim: (needs) => {
      if (pooled === undefined || !canBePrepared(needs) || !isFor(pooled, needs)) return undefined;
      const entry = take();
      if (entry === undefined) return undefined;
      // The runtime may have been upgraded, and the monitor may have been killed.
      if (entry.program === needs.handler.program && entry.isAlive?.() !== false) return entry;
      void drop(entry);
      return undefined;
    },
    close: async () => {
      closed = true;
      const entry = take();
      if (entry !== undefined) void drop(entry);
      await Promise.all(endings);
    },
  };
}
