import { setTimeout as pause } from 'node:timers/promises';
import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { ShimConnections } from './connections.ts';
import { TaskStatus } from './contract.types.ts';
import type { StateResponse, Timestamp, WaitResponse } from './contract.types.ts';
import { deleteDeadTask } from './launch.ts';
import type { ShimProgram } from './launch.ts';
import type { TaskExit } from './stand-in.ts';
import type { UnstartedTasks } from './unstarted.ts';

const SIGKILL = 9;
const againMs = 250;
const gone = Symbol('the shim has no such task');

/** Returns a function that waits for the end of a task, and returns how it ended. */
export function createTaskEnds({
  program,
  connections: { apiOf, required, isDead },
  unstarted,
  log,
  isClosed,
}: {
  readonly program: ShimProgram;
  readonly connections: Pick<ShimConnections, 'apiOf' | 'required' | 'isDead'>;
  readonly unstarted: Pick<UnstartedTasks, 'settled'>;
  readonly log: Logger;
  /** Whether the daemon is stopping: nobody waits for the ends of tasks. */
  readonly isClosed: () => boolean;
}): (id: string, folder: string) => Promise<TaskExit> {
  /** Returns the state of a task that has ended. */
  const stopped = async (id: string, folder: string): Promise<StateResponse | undefined> => {
    await unstarted.settled(id);
    const state = await (await apiOf(folder))?.state({ id });
    return state?.status === TaskStatus.STOPPED ? state : undefined;
  };
  /** Undefined: the shim has ended, and its task was killed. */
  const ended = async (id: string, folder: string): Promise<WaitResponse | undefined> => {
    while (!isClosed()) {
      try {
        return await (await required(folder)).wait({ id }, { timeoutMs: Infinity });
      } catch (cause) {
        if (isNotFound(cause)) return undefined;
        if (await isDead(folder)) {
          await deleteDeadTask(program, id, folder).catch((second: unknown) =>
            log.warn(
              { container: id, cause: reasonOf(second) },
              'the task of a shim that ended is not removed',
            ),
          );
          return undefined;
        }
        // The connection was lost, and the shim lives, or the shim cannot wait for the task.
        const state = await stopped(id, folder).catch((second: unknown) =>
          isNotFound(second) ? gone : undefined,
        );
        if (state !== undefined) return state === gone ? undefined : state;
        await pause(againMs, undefined, { ref: false });
      }
    }
    return undefined;
  };
  return async (id, folder) => {
    const exit = await ended(id, folder);
    return {
      code: exit?.exitStatus ?? 128 + SIGKILL,
      finishedAt: exit?.exitedAt === undefined ? nowNs() : nanoseconds(exit.exitedAt),
    };
  };
}

/** Whether a shim says that it has no such task. */
export function isNotFound(thrown: unknown): boolean {
  return (
    isPortcullisError(thrown) && (thrown.kind === 'not-found' || /container not created/.test(thrown.message))
  );
}

function nanoseconds({ seconds, nanos }: Timestamp): string {
  return (BigInt(seconds) * 1_000_000_000n + BigInt(nanos)).toString();
}

function nowNs(): string {
  return (BigInt(Date.now()) * 1_000_000n).toString();
}
