import type { KeyedQueue } from '../../base/queues/index.ts';
import type { Records } from '../state/records.ts';
import type { ContainerEffects } from './container-effects.ts';
import { wrongPhase } from './errors.ts';
import type { ContainerRecord } from './record.ts';
import { requireContainer } from './require-container.ts';

/**
 * Makes a running container write to a new log file.
 * @throws PortcullisError RUNTIME_CONTAINER_NOT_FOUND, RUNTIME_CONTAINER_WRONG_STATE, and the errors of the
 * effect
 */
export async function reopenContainerLog(
  {
    records,
    effects,
    lock,
  }: {
    readonly records: Pick<Records<ContainerRecord>, 'find'>;
    readonly effects: Pick<ContainerEffects, 'reopenLog'>;
    readonly lock: KeyedQueue['run'];
  },
  idOrPrefix: string,
): Promise<void> {
  const record = requireRunning(records, idOrPrefix);
  await lock(`log ${record.id}`, () => effects.reopenLog(record)).catch((thrown: unknown) => {
    // Its end or its removal took away what the reopening needs, and its error would name only that.
    requireRunning(records, record.id);
    throw thrown;
  });
}

function requireRunning(records: Pick<Records<ContainerRecord>, 'find'>, id: string): ContainerRecord {
  const record = requireContainer(records, id);
  if (record.phase === 'running') return record;
  throw wrongPhase(
    record,
    'reopen the log of',
    'start the container if it never ran, else read the existing log: only a running container gets a new one',
  );
}
