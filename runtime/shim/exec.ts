import { setTimeout as pause } from 'node:timers/promises';
import { failure } from '../../base/errors/index.ts';
import { closeFd, duplicateFd } from '../../base/kernel/index.ts';
import type { Any } from './contract.types.ts';
import { readShimRecord } from './shim-record.ts';
import { leaveInput, openTaskApi } from './task-api.ts';
import type { TaskApi } from './task-api.ts';

/** A command that runs in a task. */
export interface TaskCommand {
  /** Its first process, as the shim reports it. */
  readonly pid: number;
  /** Undefined: the shim has ended. */
  readonly exited: Promise<number | undefined>;
  kill(): Promise<void>;
  resize(size: { readonly rows: number; readonly columns: number }): void;
}

const SIGKILL = 9;
const startMs = 60_000;
/** How long background processes that hold the output of a command may delay the report of its end. */
const drainMs = 1_000;
/** An output without a path is an error for containerd-shim-runc-v2 if another stream has a path. */
const nullDevice = '/dev/null';
const typeUrl = 'types.containerd.io/opencontainers/runtime-spec/1/Process';

/**
 * Starts a command in a task. The connection is its own, so that any thread can do this. The shim opens the
 * standard streams of this process by their descriptors, which may be closed once the promise settles.
 * @param asked.descriptors pipes; null: no stream
 * @param asked.process the process in JSON (runtime-spec config.md, "process")
 * @param asked.timeoutMs how long the start may take, at most a minute
 * @throws PortcullisError RUNTIME_EXEC_TIMEOUT, the errors of the shim if it could not start the command, and
 * those of `check`
 */
export async function startTaskCommand(asked: {
  readonly container: string;
  readonly bundle: string;
  /** Called with the first process of the task, before the command is created. */
  readonly check: (init: number) => Promise<void>;
  /** Unique in the container. */
  readonly name: string;
  readonly process: string;
  readonly terminal: boolean;
  readonly descriptors: readonly [number | null, number | null, number | null];
  readonly timeoutMs?: number;
}): Promise<TaskCommand> {
  const { container: id, name: execId, terminal } = asked;
  const api = await taskApiIn(id, asked.bundle);
  // A shim that is slow opens them long after the request has failed, when the numbers of the caller may
  // belong to other files.
  const held = asked.descriptors.map((fd) => (fd === null ? undefined : duplicateFd(fd)));
  const [stdin, stdout, stderr] = held.map((fd, stream) =>
    fd === undefined ? (stream === 0 ? '' : nullDevice) : `/proc/${process.pid}/fd/${fd}`,
  ) as [string, string, string];
  const release = (fds: readonly (number | undefined)[]): void => {
    for (const fd of fds) if (fd !== undefined) closeFd(fd);
  };
  const [input, ...outputs] = held;
  const spec: Any = { typeUrl, value: Buffer.from(asked.process) };
  // The time limit is that of all calls together. What a call does after it is known only from its answer.
  const unlimited = { timeoutMs: Infinity };
  const begin = async (): Promise<number> => {
    await asked.check((await api.state({ id }, unlimited)).pid);
    const streams = { stdin, stdout, stderr: terminal ? '' : stderr };
    await api.exec({ id, execId, terminal, ...streams, spec }, unlimited);
    return (await api.start({ id, execId }, unlimited)).pid;
  };
  const begun = begin();
  let pid: number;
  try {
    pid = await within(begun, Math.min(asked.timeoutMs ?? startMs, startMs), id);
    release(outputs);
  } catch (cause) {
    void begun
      .then(
        async () => {
          await api.kill({ id, execId, signal: SIGKILL });
          await api.wait({ id, execId }, { timeoutMs: startMs });
        },
        () => undefined,
      )
      .then(() => api.delete({ id, execId }))
      .catch(() => undefined)
      .finally(() => {
        release(held);
        api.close();
      });
    throw cause;
  }
  if (stdin !== '' && !terminal) leaveInput(api, { id, execId });
  const wait = async (): Promise<number | undefined> => {
    let removed: Promise<unknown> = Promise.resolve();
    try {
      const { exitStatus } = await api.wait({ id, execId }, unlimited);
      // The answer comes when the shim has passed on all output, which a process in the background may hold.
      removed = api.delete({ id, execId }).catch(() => undefined);
      await Promise.race([removed, pause(drainMs, undefined, { ref: false })]);
      return exitStatus;
    } catch {
      return undefined;
    } finally {
      // A shim opens the outputs before it answers, and the input when it can: without a reader, input that
      // ends before that would be lost.
      release([input]);
      void removed.then(api.close);
    }
  };
  return {
    pid,
    exited: wait(),
    kill: async () => void (await api.kill({ id, execId, signal: SIGKILL }).catch(() => undefined)),
    resize: ({ rows, columns }) =>
      void api.resizePty({ id, execId, width: columns, height: rows }).catch(() => undefined),
  };
}

async function within<T>(begun: Promise<T>, timeoutMs: number, container: string): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    late.reject(
      failure(
        'RUNTIME_EXEC_TIMEOUT',
        'deadline',
        'run a command in container',
        container.slice(0, 13),
        `command timed out: the shim of its pod did not start it within ${timeoutMs / 1000} s`,
        'give it more time, or stop the pod if its shim does not answer any more',
      ),
    );
  }, timeoutMs);
  try {
    return await Promise.race([begun, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Ends a command that ran when a daemon was killed. */
export async function endTaskCommand(id: string, bundle: string, execId: string): Promise<void> {
  const api = await taskApiIn(id, bundle);
  try {
    await api.kill({ id, execId, signal: SIGKILL }).catch(() => undefined);
    await api.wait({ id, execId }, { timeoutMs: 2_000 }).catch(() => undefined);
    await api.delete({ id, execId }).catch(() => undefined);
  } finally {
    api.close();
  }
}

/** Sets the size of a task's terminal. */
export async function resizeTask(
  id: string,
  bundle: string,
  { rows, columns }: { readonly rows: number; readonly columns: number },
): Promise<void> {
  const api = await taskApiIn(id, bundle);
  try {
    await api.resizePty({ id, width: columns, height: rows });
  } finally {
    api.close();
  }
}

async function taskApiIn(id: string, bundle: string): Promise<TaskApi> {
  const record = await readShimRecord(bundle);
  if (record !== undefined) return openTaskApi(record);
  throw failure(
    'SHIM_UNREACHABLE',
    'unavailable',
    'reach the shim of container',
    id.slice(0, 13),
    'its bundle does not name a shim',
    'create the container again',
  );
}
