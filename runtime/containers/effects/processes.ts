import { attempt, isPortcullisError } from '../../../base/errors/index.ts';
import { sameProcess } from '../../../base/process/index.ts';
import { signalProcess } from '../../processes/processes.ts';
import { signalReception } from '../../processes/signal-reception.ts';
import { emptyCgroup, thawCgroup } from '../../cgroups/cgroup-removal.ts';
import type { CgroupMounts } from '../../cgroups/cgroups.ts';
import type { ContainerEffects } from '../container-effects.ts';
import { sharesPids } from '../pid-namespace.ts';
import { expectLabel } from '../confinement/applied-label.ts';
import { firstProcess } from '../record.ts';
import type { ContainerRecord } from '../record.ts';
import type { RuntimeHandler } from '../../oci/runtime-handler.ts';
import type { Slots } from '../../processes/slots.ts';
import { signalNumber } from '../stop-signal.ts';
import type { ContainerPlaces } from './container-locations.ts';
import { continueRestored, isStopped } from './restored.ts';

/** Returns what checks, after the start, that the first process is confined; undefined: it has no label. */
async function labelCheck(
  record: ContainerRecord,
  handler: Pick<RuntimeHandler, 'guestKernel'>,
): Promise<Awaited<ReturnType<typeof expectLabel>> | undefined> {
  const label = record.labels?.apparmor;
  if (label === undefined || handler.guestKernel !== undefined) return undefined;
  return expectLabel({ id: record.id, pid: firstProcess(record), label, own: record.held?.apparmor });
}

/** The effects on the processes of a created container: its start, its signals, and whether it lives. */
export function processEffects({
  places,
  slots,
  cgroups,
}: {
  readonly places: ContainerPlaces;
  readonly slots: Slots;
  readonly cgroups: CgroupMounts;
}): Pick<
  ContainerEffects,
  'start' | 'isStarted' | 'kill' | 'reception' | 'killLeftovers' | 'releaseTask' | 'isAlive' | 'isMonitored'
> {
  /** Containers whose start was interrupted by the end of an earlier daemon. */
  const cutOff = new Set<string>();
  return {
    start: async (record, signal) => {
      const { id, init } = record;
      if (record.restoredFrom !== undefined)
        return slots.run(() => continueRestored(cgroups, places.cgroup(record).path, init));
      const handler = places.handler(record);
      const check = await labelCheck(record, handler);
      await slots.run(() => handler.start(id, cutOff.delete(id) ? init : undefined, signal));
      await check?.(signal);
    },
    isStarted: async (record) => {
      if (record.restoredFrom !== undefined) return !isStopped(record.init);
      const started = await places.handler(record).isStarted(record.id, record.init);
      if (!started) cutOff.add(record.id);
      return started;
    },
    kill: (record, signal) => {
      const handler = places.findHandler(record);
      const tasks = handler?.tasks;
      if (tasks !== undefined) {
        const isOnNode = handler?.guestKernel === undefined;
        // A shim that does not answer costs only the time until its deadline: a stop repeats SIGKILL.
        tasks
          .kill(record.id, places.bundle(record.id), signalNumber(signal), signal === 'SIGKILL')
          .catch((thrown: unknown) => {
            // The runtime of the shim fails without a disk that takes its log. A stop signal is sent once.
            const isAnswered = isPortcullisError(thrown) && thrown.code === 'TTRPC_UNKNOWN';
            // Nobody waits for it, and without descriptors it fails as well.
            if (isAnswered && isOnNode && signal !== 'SIGKILL')
              attempt(() => signalProcess(record.task, signalNumber(signal)));
          });
        // It ends even if its shim hangs. With a guest kernel, this process may be the whole pod.
        if (signal === 'SIGKILL' && isOnNode && record.task !== undefined) {
          signalProcess(record.task, signalNumber(signal));
          void tasks.reportKilled(record.id, places.bundle(record.id), record.task);
        }
      } else {
        // A task whose shim is no longer configured: its stand-in must not end before the task does.
        signalProcess(record.task, signalNumber(signal));
        if (record.task === undefined || signal === 'SIGKILL')
          signalProcess(record.init, signalNumber(signal));
      }
      // A user may have paused the container, or the container may have paused a part of itself.
      if (signal === 'SIGKILL') void thawCgroup(cgroups, places.cgroup(record).path);
    },
    reception: (record, signal) =>
      sharesPids(record.config) || places.findHandler(record)?.tasks !== undefined
        ? 'received'
        : signalReception(record.init, signalNumber(signal)),
    killLeftovers: async (record) => {
      // With its own PID namespace, the kernel has killed these processes together with the first one.
      if (sharesPids(record.config)) await emptyCgroup(cgroups, places.cgroup(record).path);
    },
    releaseTask: async (record) => {
      const tasks = places.findHandler(record)?.tasks;
      if (tasks !== undefined) await slots.run(() => tasks.release(record.id, places.bundle(record.id)));
    },
    isAlive: (record) => record.init !== undefined && sameProcess(record.init),
    isMonitored: (record) => record.monitor !== undefined && sameProcess(record.monitor),
  };
}
