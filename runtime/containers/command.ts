import { isPortcullisError } from '../../base/errors/index.ts';
import type { ExecResult } from '../oci/exec.ts';
import type { Records } from '../state/records.ts';
import type { ContainerEffects } from './container-effects.ts';
import { notRunning } from './errors.ts';
import type { ContainerRecord } from './record.ts';
import { requireContainer } from './require-container.ts';

const attempted = 'run a command in';
/** How long a refusal waits for the end of a container that is being stopped, and between looks, in ms. */
const [endMs, lookMs] = [1_000, 20];

/**
 * Each runtime has its own words for a container that has ended, and they are not about the command. The
 * kernel reports ENOMEM for a fork in a PID namespace whose first process has ended.
 */
const refusedCodes: ReadonlySet<string> = new Set(['RUNTIME_EXEC_NO_PROCESS', 'RUNTIME_EXEC_REFUSED']);

interface CommandDeps {
  readonly records: Pick<Records<ContainerRecord>, 'find'>;
  readonly effects: Pick<ContainerEffects, 'exec' | 'isAlive'> & {
    readonly clock: Pick<ContainerEffects['clock'], 'sleep'>;
  };
  /** Reports whether a request is about to end the container. */
  readonly isStopping: (id: string) => boolean;
}

/**
 * Runs a command in a running container.
 * @throws PortcullisError RUNTIME_CONTAINER_NOT_FOUND, RUNTIME_CONTAINER_WRONG_STATE, also if the container
 * ends before the command starts, and the errors of the effect
 */
export async function runCommandIn(
  deps: CommandDeps,
  idOrPrefix: string,
  command: readonly string[],
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<ExecResult> {
  const { records, effects } = deps;
  const record = requireContainer(records, idOrPrefix);
  if (record.phase !== 'running') throw notRunning(record, attempted);
  try {
    return await effects.exec(record, command, timeoutMs, signal);
  } catch (thrown) {
    const isRefused = isPortcullisError(thrown) && refusedCodes.has(thrown.code);
    if (isRefused && (await hasEnded(deps, record)))
      throw notRunning({ ...record, phase: 'exited' }, attempted);
    throw thrown;
  }
}

/** Reports whether a container has ended. One that is being stopped may refuse a command before its end. */
async function hasEnded(
  { records, effects, isStopping }: CommandDeps,
  record: ContainerRecord,
): Promise<boolean> {
  const init = record.task ?? record.init;
  for (let waited = 0; ; waited += lookMs) {
    if (records.find(record.id)?.phase !== 'running') return true;
    if (init !== undefined && !effects.isAlive({ ...record, init })) return true;
    if (!isStopping(record.id) || waited >= endMs) return false;
    await effects.clock.sleep(lookMs);
  }
}
