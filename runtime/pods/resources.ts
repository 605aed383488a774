import type { LinuxContainerResources } from '../cri/contract/contract.types.ts';
import { checkedResources } from '../cgroups/check-resources.ts';
import type { CgroupMounts } from '../cgroups/cgroups.ts';
import { setPodLimits } from '../cgroups/pod-limits.ts';
import { detectResourceSupport } from '../cgroups/resource-support.ts';
import type { KeyedQueue } from '../../base/queues/index.ts';
import type { Records } from '../state/records.ts';
import type { SandboxRecord } from './record.ts';

/** Updates the resources of whole pods after their creation (cri-api UpdatePodSandboxResources). */
export interface PodResources {
  /** @throws PortcullisError RUNTIME_SANDBOX_NOT_FOUND, RUNTIME_BAD_RESOURCES, RUNTIME_CGROUP_LIMIT_FAILED */
  update(id: string, asked: PodResourceUpdate): Promise<void>;
}

export interface PodResourceUpdate {
  readonly overhead: LinuxContainerResources | undefined;
  /** The sum of the resources of the containers. */
  readonly resources: LinuxContainerResources | undefined;
}

/**
 * The kubelet has already changed the pod's cgroup when it calls, so only the values have to be recorded. A
 * cgroup that this daemon created (the caller named no parent) has no other owner: there the daemon sets the
 * limits as well. Before the first container there is no such cgroup: CreateContainer sets them then.
 */
export function createPodResources(parts: {
  readonly records: Records<SandboxRecord>;
  readonly require: (id: string) => SandboxRecord;
  readonly lock: KeyedQueue['run'];
  readonly cgroups: CgroupMounts;
}): PodResources {
  const support = detectResourceSupport(parts.cgroups);
  return {
    update: async (id, asked) => {
      const { id: known } = parts.require(id);
      await parts.lock(`sandbox ${known}`, async () => {
        const record = parts.require(known);
        for (const one of [asked.overhead, asked.resources])
          if (one !== undefined) checkedResources(one, support);
        const linux = {
          ...(record.config.linux ?? { cgroupParent: '', sysctls: {} }),
          ...(asked.overhead !== undefined && { overhead: asked.overhead }),
          ...(asked.resources !== undefined && { resources: asked.resources }),
        };
        const changed = { ...record, config: { ...record.config, linux } };
        await setPodLimits(parts.cgroups, support, changed);
        await parts.records.put(changed);
      });
    },
  };
}
