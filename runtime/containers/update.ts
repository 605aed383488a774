import type { PortcullisError } from '../../base/errors/index.ts';
import { mergedResources } from '../oci/resources.ts';
import type { Records } from '../state/records.ts';
import { blamePlugins, withAdjustments } from './adjusted.ts';
import type { AdjustedResources } from './adjusted.ts';
import type { ContainerEffects } from './container-effects.ts';
import { wrongPhase } from './errors.ts';
import type { ContainerRecord } from './record.ts';
import { requireContainer } from './require-container.ts';
import { isUnmade } from './start.ts';

/**
 * Changes the resource limits of a container, and records them. Call it under the lock of the container.
 * @throws PortcullisError RUNTIME_CONTAINER_NOT_FOUND, RUNTIME_CONTAINER_WRONG_STATE, and the errors of the
 * effect
 * @param signal ends a runtime that does not answer
 */
export async function updateContainer(
  {
    records,
    effects,
  }: {
    readonly records: Records<ContainerRecord>;
    readonly effects: Pick<ContainerEffects, 'update' | 'isAlive'>;
  },
  id: string,
  { resources, adjustments, record: log }: AdjustedResources,
  signal?: AbortSignal,
): Promise<void> {
  const record = requireContainer(records, id);
  const exited = (): PortcullisError =>
    wrongPhase({ ...record, phase: 'exited' }, 'update', 'create it again with these resources');
  if (record.phase === 'exited' || record.phase === 'removing') throw exited();
  const adjusted = withAdjustments(record.adjusted, adjustments);
  // The limits of a container that is never created are not checked, because it does not run with them.
  if (!isUnmade(record))
    await effects.update(record, resources, log, signal).catch((thrown: unknown) => {
      // The runtime may also have found that the container has ended, before it was cut off.
      signal?.throwIfAborted();
      // It exited before the runtime looked at it. Each runtime has its own words for this. The stand-in of
      // a task lives until the shim has reported the end of the task.
      const init = record.task ?? record.init;
      if (init !== undefined && !effects.isAlive({ ...record, init })) throw exited();
      throw blamePlugins(thrown, adjustments.length === 0 ? undefined : adjusted);
    });
  const linux = {
    ...record.config.linux,
    resources: mergedResources(record.config.linux?.resources, resources),
  };
  await records.put({
    ...record,
    config: { ...record.config, linux },
    ...(adjusted !== undefined && { adjusted }),
  });
}
