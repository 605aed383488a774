import { existsSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { failure } from '../../base/errors/index.ts';
import { TaskStatus } from './contract.types.ts';
import { deleteDeadTask } from './launch.ts';
import type { ShimProgram } from './launch.ts';
import type { TaskApi } from './task-api.ts';

/** The calls by which such a task is ended. */
type EndApi = Pick<TaskApi, 'start' | 'state' | 'stats'>;

/** Tasks that were created and not started. */
export interface UnstartedTasks {
  /**
   * Ends a task in a shim that sends no signal to it before its start. Does nothing to a task that has
   * started, or if the shim sends such signals.
   * @throws PortcullisError SHIM_DELETE_FAILED, and the errors of the shim
   */
  end(api: EndApi, id: string, bundle: string): Promise<void>;
  /** Does {@link end} if an earlier daemon was killed in the middle of it. @throws as {@link end} */
  finish(api: EndApi, id: string, bundle: string): Promise<void>;
  /** Notes that a task has started, so that {@link end} need not ask the shim. */
  started(id: string): void;
  /** Forgets a task that was removed. */
  forget(id: string): void;
  /** Waits until {@link end} has ended, for a call that must not reach the shim meanwhile. Never rejects. */
  settled(id: string): Promise<void>;
}

/** Exists in the bundle of a task while it is ended. */
const fileName = 'ending';

/**
 * gVisor's shim sends no signal to a container that is not started, and reports no end of it. Its Delete
 * waits for the streams of the container, which only a start closes. But if a start fails, the shim closes
 * them and reports the end (createdState in init_state.go of gVisor). So the program of the shim first
 * removes the container, without the shim, and the start then fails, because there is no container.
 *
 * Before the start, the shim must not be asked for the state: it would take the task for one that has ended,
 * refuse the start at once, and never report the end. A file in the bundle tells this to the next daemon, if
 * this one is killed between the removal and the start.
 * @param signalsUnstarted whether the shim sends signals to tasks before their start, as all others do
 */
export function createUnstartedTasks(program: ShimProgram, signalsUnstarted: boolean): UnstartedTasks {
  const ending = new Map<string, Promise<void>>();
  const started = new Set<string>();
  const inner = async (api: EndApi, id: string, bundle: string): Promise<void> => {
    const isCut = existsSync(join(bundle, fileName));
    if (isCut || (await api.state({ id })).status === TaskStatus.CREATED)
      await endUnstarted(program, api, id, bundle);
    else started.add(id);
  };
  const end: UnstartedTasks['end'] = (api, id, bundle) => {
    if (signalsUnstarted || started.has(id)) return Promise.resolve();
    const promise = ending.get(id) ?? inner(api, id, bundle).finally(() => ending.delete(id));
    ending.set(id, promise);
    return promise;
  };
  return {
    end,
    finish: async (api, id, bundle) => {
      if (existsSync(join(bundle, fileName))) await end(api, id, bundle);
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
  const file = join(bundle, fileName);
  // A full disk must not keep the task.
  await writeFile(file, '', { mode: 0o600 }).catch(() => undefined);
  try {
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
  } finally {
    await rm(file, { force: true });
  }
}
