import type { LinuxContainerResources } from '../cri/contract/contract.types.ts';
import { checkedResources } from '../cgroups/check-resources.ts';
import type { CgroupMounts } from '../cgroups/cgroups.ts';
import { writeCgroupSettings, podSettings } from '../cgroups/cgroup-settings.ts';
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
 * limits as well.
 */
export function createPodResources(parts: {
  readonly records: Records<SandboxRecord>;
  readonly require: (id: string) => SandboxRecord;
  readonly lock: KeyedQueue['run'];
  readonly cgroups: CgroupMounts;
}): PodResources {
  const support = detectResourceSupport(parts.cgroups);
  const checked = (asked: LinuxContainerResources | undefined): LinuxContainerResources | undefined =>
    asked === undefined ? undefined : checkedResources(asked, support);
  return {
    update: async (id, asked) => {
      const { id: known } = parts.require(id);
      await parts.lock(`sandbox ${known}`, async () => {
        const record = parts.require(known);
        const { overhead, resources } = {
          overhead: checked(asked.overhead),
          resources: checked(asked.resources),
        };
        if (record.config.linux?.cgroupParent === '' && !record.cgroupParent.endsWith('.slice'))
          await writeCgroupSettings(
            parts.cgroups,
            record.cgroupParent,
            podSettings(parts.cgroups.version, sum(resources, overhead)),
          );
        const linux = {
          ...(record.config.linux ?? { cgroupParent: '', sysctls: {} }),
          ...(asked.overhead !== undefined && { overhead: asked.overhead }),
          ...(asked.resources !== undefined && { resources: asked.resources }),
        };
        await parts.records.put({ ...record, config: { ...record.config, linux } });
      });
    },
  };
}

type Figures = Pick<LinuxContainerResources, 'cpuShares' | 'cpuQuota' | 'cpuPeriod' | 'memoryLimitInBytes'>;

/**
 * Containers without a limit mean a pod without a limit; an overhead alone says nothing about what the
 * containers may use.
 */
function sum(
  resources: LinuxContainerResources | undefined,
  overhead: LinuxContainerResources | undefined,
): Figures {
  const add = (of: (one: LinuxContainerResources) => number): number => {
    const base = resources === undefined ? 0 : of(resources);
    return base <= 0 ? base : base + Math.max(0, overhead === undefined ? 0 : of(overhead));
  };
  return {
    cpuShares: add((one) => one.cpuShares),
    cpuQuota: add((one) => one.cpuQuota),
    cpuPeriod: resources?.cpuPeriod ?? 0,
    memoryLimitInBytes: add((one) => one.memoryLimitInBytes),
  };
}
