import { noQuota, writeCgroupSettings } from '../../cgroups/cgroup-settings.ts';
import { requireMemoryFits } from '../../cgroups/memory-in-use.ts';
import { saveLimits } from '../../cgroups/saved-limits.ts';
import type { CgroupMounts } from '../../cgroups/cgroups.ts';
import { checkedResources } from '../../cgroups/check-resources.ts';
import { commandPlace } from '../../oci/command-paths.ts';
import { readContainerSpec } from '../../oci/container-spec.ts';
import type { ExecScopes } from '../../oci/exec-scope.ts';
import { execSync } from '../../oci/exec.ts';
import { sharedOutput } from '../../oci/output-room.ts';
import { execHandler } from '../../oci/start-command.ts';
import { commandArguments } from '../../oci/launched-command.ts';
import { firstProcess } from '../record.ts';
import { boundedResources } from '../../oci/profile-bounds.ts';
import type { ResourceSupport } from '../../cgroups/resource-support.ts';
import { mergedResources, toOciUpdate, updateFailure } from '../../oci/resources.ts';
import type { ContainerEffects } from '../container-effects.ts';
import { reopenLog } from '../logs/log-reopen.ts';
import type { MonitorDeps } from './monitors.ts';

export interface RunningEffectDeps extends Pick<MonitorDeps, 'startProgram' | 'conmon' | 'paths' | 'places'> {
  readonly execScopes: ExecScopes;
  readonly cgroups: CgroupMounts;
  readonly resourceSupport: ResourceSupport;
}

/**
 * The effects that a client requests for a container that exists: a command, other limits, another log file.
 */
export function runningEffects(
  deps: RunningEffectDeps,
): Pick<ContainerEffects, 'exec' | 'update' | 'reopenLog'> {
  const { places, paths, cgroups } = deps;
  const sharedRoom = { bytes: sharedOutput };
  return {
    exec: async (record, command, timeoutMs, signal) => {
      const dir = places.bundle(record.id);
      const spec = await readContainerSpec(dir, record.id);
      return execSync({
        startProgram: deps.startProgram,
        paths,
        scopes: deps.execScopes,
        target: {
          id: record.id,
          handler: execHandler(places.handler(record)),
          conmon: deps.conmon,
          init: firstProcess(record),
          dir,
        },
        place: commandPlace(spec),
        process: { ...spec.process, terminal: false, args: commandArguments(spec, command) },
        sharedRoom,
        timeoutMs,
        ...(signal !== undefined && { signal }),
      });
    },
    update: async (record, resources, checked, signal) => {
      const asked = checkedResources(
        mergedResources(record.config.linux?.resources, resources),
        deps.resourceSupport,
      );
      const wanted = boundedResources(asked, record.held?.resources) ?? asked;
      await requireMemoryFits(cgroups, places.limits(record), wanted);
      await checked?.();
      const handler = places.handler(record);
      // crun 1.8 writes -1 as an unsigned number, which version 1 refuses.
      const removesQuota = handler.kind !== 'crun' || cgroups.version === 2;
      const restore = await saveLimits(cgroups, places.limits(record), wanted);
      try {
        await handler.update(record.id, toOciUpdate(wanted, removesQuota), signal);
        if (wanted.cpuQuota === -1 && !removesQuota)
          await writeCgroupSettings(cgroups, places.limits(record), noQuota);
      } catch (thrown) {
        await restore();
        throw updateFailure(thrown);
      }
    },
    reopenLog: (record) => reopenLog(record, places.bundle(record.id), paths),
  };
}
