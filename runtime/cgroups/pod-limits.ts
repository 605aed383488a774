import type { LinuxContainerResources, PodSandboxConfig } from '../cri/contract/contract.types.ts';
import { podSettings, writeCgroupSettings } from './cgroup-settings.ts';
import type { CgroupMounts } from './cgroups.ts';
import { requireMemoryFits } from './memory-in-use.ts';
import { checkedResources } from './check-resources.ts';
import { saveLimits } from './saved-limits.ts';
import type { ResourceSupport } from './resource-support.ts';

/** A pod, the cgroup of the pod, and what its configuration requests for it. */
interface LimitedPod {
  readonly cgroupParent: string;
  readonly config: Pick<PodSandboxConfig, 'linux'>;
}

/**
 * Sets the requested limits in the cgroup of a pod, if the daemon is the only owner of this cgroup: the
 * caller named no parent. In every other cgroup, the kubelet or systemd sets them. Does nothing before the
 * cgroup exists. Sets all limits or none.
 * @throws PortcullisError RUNTIME_CGROUP_LIMIT_FAILED, RUNTIME_LIMIT_IN_USE, and the errors of
 * {@link checkedResources}
 */
export async function setPodLimits(
  cgroups: CgroupMounts,
  support: ResourceSupport,
  { cgroupParent, config: { linux } }: LimitedPod,
): Promise<void> {
  if (linux?.cgroupParent !== '' || cgroupParent.endsWith('.slice')) return;
  const figures = sum(
    linux.resources && checkedResources(linux.resources, support),
    linux.overhead && checkedResources(linux.overhead, support),
  );
  await requireMemoryFits(cgroups, cgroupParent, { ...figures, memorySwapLimitInBytes: 0, unified: {} });
  const restore = await saveLimits(cgroups, cgroupParent, { hugepageLimits: [], unified: {} });
  try {
    await writeCgroupSettings(cgroups, cgroupParent, podSettings(cgroups.version, figures));
  } catch (thrown) {
    await restore();
    throw thrown;
  }
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
