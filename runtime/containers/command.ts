import { isPortcullisError } from '../../base/errors/index.ts';
import type { ExecResult } from '../oci/exec.ts';
import type { Records } from '../state/records.ts';
import type { ContainerEffects } from './container-effects.ts';
import { notRunning } from './errors.ts';
import type { ContainerRecord } from './record.ts';
import { requireContainer } from './require-container.ts';

const attempted = 'run a command in';

/**
 * Runs a command in a running container.
 * @throws PortcullisError RUNTIME_CONTAINER_NOT_FOUND, RUNTIME_CONTAINER_WRONG_STATE, also if the container
 * ends before the command starts, and the errors of the effect
 */
export async function runCommandIn(
  {
    records,
    effects,
  }: {
    readonly records: Pick<Records<ContainerRecord>, 'find'>;
    readonly effects: Pick<ContainerEffects, 'exec' | 'isAlive'>;
  },
  idOrPrefix: string,
  command: readonly string[],
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<ExecResult> {
  const record = requireContainer(records, idOrPrefix);
  if (record.phase !== 'running') throw notRunning(record, attempted);
  try {
    return await effects.exec(record, command, timeoutMs, signal);
  } catch (thrown) {
    // Each runtime has its own words for a container that has ended, and they are not about the command.
    const isRefused = isPortcullisError(thrown) && thrown.code === 'RUNTIME_EXEC_REFUSED';
    const init = record.task ?? record.init;
    if (isRefused && init !== undefined && !effects.isAlive({ ...record, init }))
      throw notRunning({ ...record, phase: 'exited' }, attempted);
    throw thrown;
  }
}
