import { setTimeout as pause } from 'node:timers/promises';
import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { processIdentity, sameProcess } from '../../base/process/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import type { CallOptions } from '../../base/ttrpc/index.ts';
import { endProcessesWithArgument, signalProcess } from '../processes/processes.ts';
import { TaskStatus } from './contract.types.ts';
import type { Any } from './contract.types.ts';
import { createConnections } from './connections.ts';
import type { ShimConnections } from './connections.ts';
import { createHungShims } from './hung-shim.ts';
import type { HungShims } from './hung-shim.ts';
import { deleteDeadTask, startShim } from './launch.ts';
import { requireStartedSince, ticksNow } from './shim-process.ts';
import type { ShimProgram } from './launch.ts';
import { leaveInput } from './task-api.ts';
import type { TaskApi } from './task-api.ts';
import { forgetShim, readShimRecord, removeDeadSocket, writeShimRecord } from './shim-record.ts';
import { isTimeout } from './unresponsive-shim.ts';
import { readTaskMetrics } from './task-metrics.ts';
import type { TaskUsage } from './task-metrics.ts';
import { createTaskEnds, isNotFound } from './task-ends.ts';
import { createUnstartedTasks } from './unstarted.ts';
import type { UnstartedTasks } from './unstarted.ts';
import { releaseStreams, reportExit, standInStreams } from './stand-in.ts';

/** The tasks of the pods of one runtime handler, each pod with its own shim. */
export interface ShimTasks extends Pick<HungShims, 'reportKilled'> {
  /**
   * Starts the shim of a pod and in it the task of the pod itself, which later tasks join.
   * @param folder holds config.json; its name is the id of the pod
   * @returns the process of the shim
   */
  startPod(id: string, folder: string, systemdCgroup: boolean): Promise<ProcessIdentity>;
  /** Ends the task of the pod and its shim, dead or alive, and removes what they left. */
  endPod(id: string, folder: string): Promise<void>;
  /**
   * Creates the task of a container in the shim of its pod, and reports its end to the stand-in.
   * @param input.standIn the process whose standard streams the task gets
   * @param input.signal the pod is being stopped: ends the creation, or the shim if it does not answer then
   * @returns the first process of the task: of a sandbox, its own process; 0: the shim has none
   * @throws PortcullisError the errors of the shim
   */
  create(input: {
    readonly id: string;
    readonly bundle: string;
    readonly podFolder: string;
    readonly standIn: number;
    readonly terminal: boolean;
    readonly stdin: boolean;
    readonly systemdCgroup: boolean;
    readonly signal?: AbortSignal | undefined;
  }): Promise<number>;
  start(id: string, bundle: string, signal?: AbortSignal): Promise<void>;
  status(id: string, bundle: string): Promise<TaskStatus | 'absent'>;
  /** @throws PortcullisError of the shim, unless the task has ended */
  kill(id: string, bundle: string, signal: number, all: boolean): Promise<void>;
  /** @param signal the container is being stopped or removed: ends the wait for the shim */
  update(id: string, bundle: string, resources: Any, signal?: AbortSignal): Promise<void>;
  /** Undefined: the shim does not measure its tasks, or not in a form that is known. */
  usage(id: string, bundle: string): Promise<TaskUsage | undefined>;
  /** Ends and removes a task. An absent task is a success. */
  delete(id: string, bundle: string): Promise<void>;
  /** Like `delete`, for a task of a pod that ends: a shim that does not answer is killed with its tasks. */
  release(id: string, bundle: string): Promise<void>;
  /** Reports the end of a task to its stand-in, even if it ended before. */
  follow(id: string, bundle: string): void;
  /** Closes the connections. Tasks go on. */
  close(): Promise<void>;
}

const SIGKILL = 9;
const endMs = 10_000;
/** How long a shim that has just started may take to answer. */
const firstMs = 10_000;
/** How long a shim may take to report a creation whose OCI runtime was killed. */
const createEndMs = 2_000;
/** The statistics of all containers wait for each shim. */
const usageMs = 2_000;

interface ShimTasksInput {
  readonly program: ShimProgram;
  /** Returns the shim's own options for a task. */
  readonly options: (systemdCgroup: boolean) => Any | undefined;
  /** Whether the shim sends signals to tasks before their start. */
  readonly signalsUnstarted: boolean;
  /** Called when the daemon stops and no pod has a shim. */
  readonly idle: () => void;
  readonly log: Logger;
}

/** Opens the tasks of one handler. Connects to shims when they are needed. */
export function createShimTasks(input: ShimTasksInput): ShimTasks {
  const { program, options, log } = input;
  const connections = createConnections((socket) =>
    log.error({ socket }, 'a shim no longer answers, and is killed with its tasks'),
  );
  const { apiOf, required, isDead } = connections;
  /** The reports of ends that are not made yet, by the id of the task. */
  const followed = new Map<string, Promise<void>>();
  const { isHung, reportKilled } = createHungShims(connections, (id) => followed.has(id));
  let closed = false;
  const unstarted = createUnstartedTasks(program, input.signalsUnstarted);
  const ended = createTaskEnds({ program, connections, unstarted, log, isClosed: () => closed });
  const remove = removalOfTasks(input, connections, unstarted);
  const forget = async (id: string, bundle: string): Promise<void> => {
    await remove(id, bundle);
    unstarted.forget(id);
    // The report of its end writes into the bundle, which the caller removes now.
    await Promise.race([followed.get(id), pause(endMs, undefined, { ref: false })]);
    // A repeated removal has nothing to do, even if the shim has ended meanwhile.
    await forgetShim(bundle);
  };

  return {
    ...podTasks(input, connections, { remove, isHung, unstarted }),
    reportKilled,
    create: async ({ id, bundle, podFolder, standIn, terminal, stdin, systemdCgroup, signal }) => {
      const shim = await readShimRecord(podFolder);
      if (shim === undefined) throw new Error('its pod has no shim');
      await writeShimRecord(bundle, shim);
      const stream = (fd: number): string => `/proc/${standIn}/fd/${fd}`;
      const api = await required(bundle);
      const creating = api.create(
        {
          id,
          bundle,
          terminal,
          stdin: stdin ? stream(standInStreams.stdin) : '',
          stdout: stream(standInStreams.stdout),
          stderr: terminal ? '' : stream(standInStreams.stderr),
          ...given(options(systemdCgroup)),
        },
        { timeoutMs: 110_000 },
      );
      const { pid } = await unlessAborted(creating, signal, () =>
        endCreation(creating, () => deleteDeadTask(program, id, bundle), { id, bundle }),
      );
      await releaseStreams(bundle);
      if (stdin && !terminal) leaveInput(api, { id });
      return pid;
    },
    start: async (id, bundle, signal) => {
      const api = await required(bundle);
      await unstarted.finish(api, id, bundle);
      await endedBy(signal, (options) => api.start({ id }, { timeoutMs: 60_000, ...options }));
      unstarted.started(id);
    },
    status: async (id, bundle) => {
      try {
        await unstarted.settled(id);
        const api = await apiOf(bundle);
        if (api === undefined) return 'absent';
        await unstarted.finish(api, id, bundle);
        return (await api.state({ id })).status;
      } catch (cause) {
        if (isNotFound(cause) || (await isDead(bundle))) return 'absent';
        throw cause;
      }
    },
    kill: async (id, bundle, signal, all) => {
      const api = await apiOf(bundle);
      if (api === undefined) return;
      if (signal === SIGKILL) await unstarted.end(api, id, bundle).catch(() => undefined);
      await kill(api, id, signal, all);
    },
    update: async (id, bundle, resources, signal) => {
      const api = await required(bundle);
      await endedBy(signal, (options) => api.update({ id, resources }, options));
    },
    usage: async (id, bundle) => {
      const { stats } = await (await required(bundle)).stats({ id }, { timeoutMs: usageMs });
      return stats === undefined ? undefined : readTaskMetrics(stats);
    },
    delete: forget,
    release: async (id, bundle) => {
      if (await isHung(bundle)) await killShim((await readShimRecord(bundle))?.process, 0);
      await forget(id, bundle);
    },
    follow: (id, bundle) => {
      if (followed.has(id)) return;
      const report = ended(id, bundle)
        .then(async (exit) => {
          if (!closed) await reportExit(bundle, exit);
        })
        .catch((cause: unknown) =>
          log.error({ container: id, cause: reasonOf(cause) }, 'the exit of a task could not be reported'),
        )
        .finally(() => followed.delete(id));
      followed.set(id, report);
    },
    close: async () => {
      closed = true;
      connections.close();
      if (await program.events.close()) input.idle();
    },
  };
}

/** Returns the function that ends and removes a task. */
function removalOfTasks(
  { program }: ShimTasksInput,
  { apiOf, isDead }: ShimConnections,
  unstarted: UnstartedTasks,
): (id: string, folder: string) => Promise<void> {
  return async (id, folder) => {
    try {
      const api = await apiOf(folder);
      if (api === undefined) return;
      await unstarted.end(api, id, folder);
      const { status } = await api.state({ id });
      if (status !== TaskStatus.STOPPED) {
        await kill(api, id, SIGKILL, true);
        await api.wait({ id }, { timeoutMs: endMs });
      }
      await api.delete({ id }, { timeoutMs: endMs });
    } catch (cause) {
      if (isNotFound(cause)) return;
      // The connection of a shim that is killed is closed shortly before its process has ended.
      for (let waited = 0; isClosed(cause) && waited < 1_000 && !(await isDead(folder)); waited += 20)
        await pause(20);
      if (!(await isDead(folder))) throw cause;
      await deleteDeadTask(program, id, folder);
    }
  };
}

/** Makes a call that a signal cancels. Rejects with the reason of the signal then. */
async function endedBy(
  signal: AbortSignal | undefined,
  call: (options: Pick<CallOptions, 'signal'>) => Promise<unknown>,
): Promise<void> {
  try {
    await call(signal === undefined ? {} : { signal });
  } catch (cause) {
    signal?.throwIfAborted();
    throw cause;
  }
}

/**
 * @param end called when the signal is aborted first; its end is awaited before the rejection, also if the
 * call fails meanwhile
 */
async function unlessAborted<T>(
  call: Promise<T>,
  signal: AbortSignal | undefined,
  end: () => Promise<void>,
): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const reject = (): void => aborted.reject(signal?.reason as Error);
  let ending: Promise<void> | undefined;
  const abort = (): void => {
    ending ??= end().then(reject, reject);
  };
  signal?.addEventListener('abort', abort, { once: true });
  if (signal?.aborted === true) abort();
  try {
    return await Promise.race([call, aborted.promise]);
  } catch (cause) {
    await ending;
    signal?.throwIfAborted();
    throw cause;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

/**
 * Ends the creation of a task in a pod that is being stopped. ttrpc cannot cancel a call, and a shim answers
 * no other call about the task meanwhile: first the OCI runtime is killed that the shim has started for it,
 * and then the shim, whose tasks end with the pod anyway.
 * @param clear removes what the killed runtime has left: the shim does not know the task
 */
async function endCreation(
  creating: Promise<unknown>,
  clear: () => Promise<void>,
  { id, bundle }: { readonly id: string; readonly bundle: string },
): Promise<void> {
  await endProcessesWithArgument(id, [bundle]).catch(() => undefined);
  const answered = creating.then(
    () => 'created',
    () => 'failed',
  );
  const end = await Promise.race([answered, pause(createEndMs, 'none')]);
  if (end === 'none') await killShim((await readShimRecord(bundle))?.process, 0);
  if (end !== 'created') await clear().catch(() => undefined);
}

/** Kills a shim that has not ended within a time, and waits for its end, which a device may delay. */
async function killShim(shim: ProcessIdentity | undefined, waitMs: number): Promise<void> {
  const isAlive = (): boolean => shim !== undefined && sameProcess(shim);
  for (let waited = 0; waited < waitMs && isAlive(); waited += 20) await pause(20);
  if (isAlive()) signalProcess(shim, SIGKILL);
  for (let waited = 0; waited < 1_000 && isAlive(); waited += 20) await pause(20);
}

/** The life of the shim of a pod. @param parts.remove ends and removes a task */
function podTasks(
  { program, options, log }: ShimTasksInput,
  { apiOf, required }: ShimConnections,
  {
    remove,
    isHung,
    unstarted,
  }: Pick<HungShims, 'isHung'> & {
    readonly remove: (id: string, folder: string) => Promise<void>;
    readonly unstarted: UnstartedTasks;
  },
): Pick<ShimTasks, 'startPod' | 'endPod'> {
  // A shim whose record a killed daemon did not finish has the id among its arguments, and so has each
  // client with which a user stops this pod. Only a shim and its programs also name one of these paths.
  const endProcesses = (id: string, folder: string): Promise<void> =>
    endProcessesWithArgument(id, [program.events.socket, folder]);
  return {
    startPod: async (id, folder, systemdCgroup) => {
      const since = ticksNow();
      const address = await startShim(program, id, folder);
      await writeShimRecord(folder, address);
      const api = await required(folder);
      const { shimPid } = await api.connect({ id }, { timeoutMs: firstMs }).catch((thrown: unknown) => {
        if (isTimeout(thrown)) throw thrown;
        return { shimPid: 0 };
      });
      await api.create({ id, bundle: folder, ...given(options(systemdCgroup)) }, { timeoutMs: 60_000 });
      await api.start({ id });
      unstarted.started(id);
      const pid = shimPid === 0 ? (await api.connect({ id })).shimPid : shimPid;
      const shim = processIdentity(pid);
      if (shim === undefined) throw new Error('the shim ended at once');
      requireStartedSince(shim, since, program.path);
      await writeShimRecord(folder, { ...address, process: shim });
      return shim;
    },
    endPod: async (id, folder) => {
      const record = await readShimRecord(folder);
      if (await isHung(folder)) {
        log.error({ sandbox: id }, 'the shim of a pod that ends does not answer, and is killed');
        await endProcesses(id, folder);
      }
      await remove(id, folder).catch((cause: unknown) =>
        log.warn({ sandbox: id, cause: reasonOf(cause) }, 'the task of a pod is ended with its shim'),
      );
      const api = await apiOf(folder).catch(() => undefined);
      await api?.shutdown({ id, now: true }, { timeoutMs: 2_000 }).catch(() => undefined);
      await killShim(record?.process, 2_000);
      await endProcesses(id, folder);
      api?.close();
      if (record !== undefined) await removeDeadSocket(record.socket);
      unstarted.forget(id);
    },
  };
}

/**
 * Sends a signal to a task that may have ended. A paused task gets SIGKILL only when it is resumed, which
 * happens here: whoever paused it may have forgotten it. gVisor refuses a signal to a paused task, and does
 * not report that it is paused.
 */
async function kill(
  api: Pick<TaskApi, 'kill' | 'resume' | 'state'>,
  id: string,
  signal: number,
  all: boolean,
): Promise<void> {
  const send = async (): Promise<void> => void (await api.kill({ id, signal, all }).catch(unlessEnded));
  if (signal !== SIGKILL) return send();
  try {
    await send();
  } catch {
    await api.resume({ id }).catch(() => undefined);
    await send();
  }
  try {
    const { status } = await api.state({ id });
    if (status === TaskStatus.PAUSED || status === TaskStatus.PAUSING) await api.resume({ id });
  } catch (cause) {
    unlessEnded(cause);
  }
}

const given = (options: Any | undefined): { readonly options?: Any } =>
  options === undefined ? {} : { options };

function isClosed(thrown: unknown): boolean {
  return isPortcullisError(thrown) && thrown.code === 'TTRPC_CLOSED';
}

/** A task that has ended gets no signal: shims report this in several ways. */
function unlessEnded(thrown: unknown): void {
  const ended = /process already finished|not found|no such process|already (?:dead|exited|stopped)/i;
  if (!isNotFound(thrown) && !ended.test(reasonOf(thrown))) throw thrown;
}
