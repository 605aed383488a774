import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { meansNoSuchPath } from '../../../base/errors/index.ts';
import type { Exit, ExitWatch } from '../../monitor/exits.ts';
import type { CgroupMounts } from '../../cgroups/cgroups.ts';
import { createOomLedger } from '../../cgroups/oom-ledger.ts';
import type { ContainerEffects } from '../container-effects.ts';
import { readTaskExit } from '../../shim/stand-in.ts';
import type { ContainerPlaces } from './container-locations.ts';

/** The effects that report how a container ended. */
export function exitEffects({
  places,
  exits,
  cgroups,
}: {
  readonly places: ContainerPlaces;
  readonly exits: ExitWatch;
  readonly cgroups: CgroupMounts;
}): Pick<ContainerEffects, 'watch' | 'forgetExit' | 'recordedExit' | 'wasOutOfMemory'> {
  const oomLedger = createOomLedger(cgroups);
  return {
    watch: (record, report, monitorLost) => {
      if (record.init === undefined || record.monitor === undefined) return () => undefined;
      const { path, systemd } = places.cgroup(record);
      // Without the ledger of its pod, only the container's own count is known.
      if (systemd) oomLedger.open(dirname(path)).catch(() => undefined);
      const tasks = places.findHandler(record)?.tasks;
      tasks?.follow(record.id, places.bundle(record.id));
      return exits.watchContainer(
        record.id,
        { init: record.init, monitor: record.monitor },
        tasks === undefined ? report : (exit) => void whenEnded(places.bundle(record.id), exit).then(report),
        monitorLost,
      );
    },
    forgetExit: (id) => exits.forget(id),
    recordedExit: async (id) => {
      const exit = await exits.recorded(id);
      return exit === undefined ? undefined : whenEnded(places.bundle(id), exit);
    },
    // conmon records the notification of the kernel. The kernel's own count also covers the case that conmon
    // looked too late.
    wasOutOfMemory: async (record) => {
      const { path } = places.cgroup(record);
      // Version 1 does not count kills in a child cgroup.
      const own = cgroups.version === 2 ? path : places.limits(record);
      const counted = await oomLedger.wasKilled(dirname(path), own);
      const noted = await stat(join(places.bundle(record.id), 'oom')).then(
        () => true,
        (cause: unknown) => {
          if (meansNoSuchPath(cause)) return false;
          throw cause;
        },
      );
      return counted || noted;
    },
  };
}

/** Returns the exit with the time that the shim reported, if the container is a task of one. */
async function whenEnded(bundle: string, exit: Exit): Promise<Exit> {
  const task = await readTaskExit(bundle);
  return task === undefined ? exit : { ...exit, finishedAt: task.finishedAt };
}
