import { unlessGone } from '../state/deleted-rows.ts';
import type { Records } from '../state/records.ts';
import { putUntilBoot } from './boot-record.ts';
import type { ContainerEffects } from './container-effects.ts';
import type { ExitRecorder } from './exit-recorder.ts';
import { nextContainerPhase } from './lifecycle.ts';
import type { ContainerRecord } from './record.ts';
import type { ContainerWatches } from './watches.ts';

export interface RemovalDeps {
  readonly records: Records<ContainerRecord>;
  readonly effects: Pick<ContainerEffects, 'destroy'>;
  readonly exits: Pick<ExitRecorder, 'settle'>;
  readonly watches: Pick<ContainerWatches, 'end'>;
}

/**
 * Removes everything that a container has on the host, and then its record.
 * @param mayBeCreated the write of the phase `created` was reported as failed, and may have taken effect:
 * the next start would find a container without its process, and report an exit that never happened
 * @throws the error of a step that failed. The record stays, and the call may be repeated
 */
export async function takeBack(
  deps: RemovalDeps,
  record: ContainerRecord,
  mayBeCreated = false,
): Promise<void> {
  const { records, effects, exits, watches } = deps;
  watches.end(record.id);
  if (mayBeCreated && records.get(record.id) !== undefined)
    await putUntilBoot(records, record).catch(unlessGone);
  await effects.destroy(record);
  await records.delete(record.id);
  exits.settle(record.id);
}

/**
 * Removes a container, running or not. Call it under the lock of the container. Unknown: success.
 * @throws the error of a step that failed. The container stays in the phase `removing`, and the call may be
 * repeated
 */
export async function removeContainer(deps: RemovalDeps, id: string): Promise<void> {
  const { records } = deps;
  const record = records.get(id);
  if (record === undefined) return;
  if (record.phase !== 'removing')
    await records
      .put({ ...record, phase: nextContainerPhase(record.phase, 'remove-asked') })
      .catch(unlessGone);
  await takeBack(deps, record);
}
