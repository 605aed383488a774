import { reasonOf } from '../../../base/errors/index.ts';
import { refused } from '../../monitor/failures.ts';
import { signalProcess } from '../../processes/processes.ts';
import { processIdentity } from '../../../base/process/index.ts';
import type { ProcessIdentity } from '../../../base/process/index.ts';
import { makeFolderSync } from '../../../base/storage/index.ts';
import { prepareStandIn } from '../../shim/stand-in.ts';
import type { ContainerRecord } from '../record.ts';
import type { ContainerPlaces } from './container-locations.ts';

/** Creates what the stand-in of a task needs, before the monitor starts it. */
export function prepareTask(bundle: string): void {
  makeFolderSync(bundle);
  prepareStandIn(bundle);
}

/**
 * Creates the task of a container in the shim of its pod, with the standard streams of the stand-in.
 * @param signal the pod is being stopped: ends the creation, or the shim with all tasks, and rejects with its
 * reason
 * @returns the first process of the task. Undefined: the node does not see it
 * @throws PortcullisError RUNTIME_CREATE_FAILED with the message of the shim; the stand-in has ended then
 */
export async function createTask(
  { places }: { readonly places: ContainerPlaces },
  record: ContainerRecord,
  standIn: number,
  signal?: AbortSignal,
): Promise<ProcessIdentity | undefined> {
  const handler = places.handler(record);
  try {
    const pid = await handler.tasks?.create({
      id: record.id,
      bundle: places.bundle(record.id),
      podFolder: places.podTask(record.sandboxId),
      standIn,
      terminal: record.config.tty,
      stdin: record.config.stdin,
      systemdCgroup: places.cgroup(record).systemd,
      signal,
    });
    return processIdentity(pid ?? 0);
  } catch (cause) {
    signalProcess(processIdentity(standIn), 9);
    signal?.throwIfAborted();
    throw refused(record.id, handler.path, reasonOf(cause));
  }
}
