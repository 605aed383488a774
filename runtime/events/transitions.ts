import type { ContainerRecord } from '../containers/record.ts';
import { ContainerEventType } from '../cri/contract/contract.types.ts';
import type { SandboxRecord } from '../pods/record.ts';
import type { RecordChange } from '../state/records.ts';

const { CONTAINER_CREATED_EVENT, CONTAINER_STARTED_EVENT, CONTAINER_STOPPED_EVENT, CONTAINER_DELETED_EVENT } =
  ContainerEventType;

/**
 * Returns the events of a change of a container's record, in order (cri-api ContainerEventType). Pure. A
 * container that no client could list yet (`creating`) has no events; a container that ran and ended between
 * two records has both.
 */
export function containerEvents({
  before,
  after,
}: RecordChange<ContainerRecord>): readonly ContainerEventType[] {
  const wasVisible = before !== undefined && before.phase !== 'creating';
  if (after === undefined) return wasVisible ? [CONTAINER_DELETED_EVENT] : [];
  if (after.phase === 'creating' || after.phase === 'removing') return [];
  const events: ContainerEventType[] = [];
  if (!wasVisible) events.push(CONTAINER_CREATED_EVENT);
  if ((before?.startedAt ?? '0') === '0' && after.startedAt !== '0') events.push(CONTAINER_STARTED_EVENT);
  if (before?.phase !== 'exited' && after.phase === 'exited') events.push(CONTAINER_STOPPED_EVENT);
  return events;
}

/**
 * Does the same as {@link containerEvents} for a sandbox, whose id is the container id of its events: a
 * kubelet's evented PLEG detects the end of a pod by the deletion of the "container" that is the sandbox. A
 * sandbox has stopped when its resources are released.
 */
export function sandboxEvents({ before, after }: RecordChange<SandboxRecord>): readonly ContainerEventType[] {
  const wasVisible = before !== undefined && before.phase !== 'creating';
  if (after === undefined) return wasVisible ? [CONTAINER_DELETED_EVENT] : [];
  if (after.phase === 'ready' && !wasVisible) return [CONTAINER_CREATED_EVENT, CONTAINER_STARTED_EVENT];
  if (after.phase === 'stopped' && wasVisible && before.phase !== 'stopped') return [CONTAINER_STOPPED_EVENT];
  return [];
}
