import { failure } from '../../base/errors/index.ts';
import { TaskStatus } from './contract.types.ts';
import { deleteDeadTask } from './launch.ts';
import type { ShimProgram } from './launch.ts';
import type { TaskApi } from './task-api.ts';

/** Tasks that were created and not started. */
export interface UnstartedTasks {
  /**
   * Ends a task in a shim that sends no signal to it before its start. Does nothing to a task that has
   * started, or if the shim sends such signals.
   * @throws PortcullisError SHIM_DELETE_FAILED, and the errors of the shim
   */
  end(api: Pick<TaskApi, 'start' | 'state' | 'stats'>, id: string, bundle: string): Promise<void>;
  /** Notes that a task has started, so that {@link end} need not ask the shim. */
  started(id: string): void;
  /** Forgets a task that was removed. */
  forget(id: string): void;
  /** Waits until {@link end} has ended, for a call that must not reach the shim meanwhile. Never rejects. */
  settled(id: string): Promise<void>;
}

/**
 * gVisor's shim sends no signal to a container that is not started, and reports no end of it. Its Delete
 * waits for the streams of the container, which only a start closes. But if a start fails, the shim closes
 * them and reports the end (createdState in init_state.go of gVisor). So the program of the shim first
 * removes the container, without the shim, and the start then fails, because there is no container.
 *
 * Before the start, the shim must not be asked for the state: it would take the task for one that has ended,
 * refuse the start at once, and never report the end.
 * @param signalsUnstarted whether the shim sends signals to tasks before their start, as all others do
 */
export function createUnstartedTasks(program: ShimProgram, signalsUnstarted: boolean): UnstartedTasks {
  const ending = new Map<string, Promise<void>>();
  const started = new Set<string>();
  const end = async (
    api: Parameters<UnstartedTasks['end']>[0],
    id: string,
    bundle: string,
  ): Promise<void> => {
    if ((await api.state({ id })).status === TaskStatus.CREATED) await endUnstarted(program, api, id, bundle);
    else started.add(id);
  };
  return {
    end: (api, id, bundle) => {
      if (signalsUnstarted || started.has(id)) return Promise.resolve();
      const promise = ending.get(id) ?? end(api, id, bundle).finally(() => ending.delete(id));
      ending.set(id, promise);
      return promise;
    },
    started: (id) => {
      if (!signalsUnstarted) started.add(id);
    },
    forget: (id) => void started.delete(id),
    settled: async (id) => ending.get(id)?.catch(() => undefined),
  };
}

async function endUnstarted(
  program: ShimProgram,
  api: Pick<TaskApi, 'start' | 'stats'>,
  id: string,
  bundle: string,
): Promise<void> {
  await deleteDeadTask(program, id, bundle);
  // The program reports no failure. A container that is still there would be started.
  const isThere = await api.stats({ id }).then(
    () => true,
    () => false,
  );
  if (isThere)
    throw failure(
      'SHIM_DELETE_FAILED',
      'internal',
      'remove a container that was never started with',
      program.path,
      'the OCI runtime still has it',
      'read the log of the shim, or remove the pod',
    );
  await api.start({ id }).catch(() => undefined);
}
