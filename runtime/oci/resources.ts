import type { LinuxContainerResources } from '../cri/contract/contract.types.ts';
import { PortcullisError, isPortcullisError } from '../../base/errors/index.ts';
import { limitInUse } from '../cgroups/memory-in-use.ts';
import type { OciResources } from './spec.types.ts';

/**
 * Returns the resources after an update: zero and empty fields keep the current value (cri-api
 * UpdateContainerResources), and so do settings of `unified` and sizes of huge pages that the update does not
 * name. The OOM score stays the same, because no runtime changes the score of a running process. A kept limit
 * of memory and swap together rises to a higher memory limit, because the kernel refuses a lower one.
 */
export function mergedResources(
  current: LinuxContainerResources | undefined,
  update: LinuxContainerResources,
): LinuxContainerResources {
  const { oomScoreAdj: _kept, ...changeable } = update;
  const given = Object.entries(changeable).filter(([, value]) => {
    if (value === 0 || value === '') return false;
    return typeof value !== 'object' || Object.keys(value).length > 0;
  });
  const unified = { ...current?.unified, ...update.unified };
  const ofPages = [...(current?.hugepageLimits ?? []), ...update.hugepageLimits];
  const merged: LinuxContainerResources = {
    ...(current ?? update),
    ...Object.fromEntries(given),
    unified,
    hugepageLimits: [...new Map(ofPages.map((limit) => [limit.pageSize, limit])).values()],
  };
  const { memoryLimitInBytes: memory, memorySwapLimitInBytes: swap } = merged;
  const rises = update.memorySwapLimitInBytes === 0 && swap > 0 && (memory === -1 || memory > swap);
  return rises ? { ...merged, memorySwapLimitInBytes: memory } : merged;
}

/**
 * Returns the update for the runtime: like {@link toOciResources}, but also removes a quota where the runtime
 * can do that.
 */
export function toOciUpdate(asked: LinuxContainerResources, runtimeRemovesQuota: boolean): OciResources {
  const resources = toOciResources(asked);
  return asked.cpuQuota === -1 && runtimeRemovesQuota
    ? { ...resources, cpu: { ...resources.cpu, quota: -1 } }
    : resources;
}

/** Messages of crun and runc. */
const inUse = /resource busy|EBUSY|unable to set memory limit to \d+ \(current usage/iu;

/**
 * Returns the error of a failed update. For a limit below the current usage it says what the caller can do;
 * any other failure is returned as it is.
 */
export function updateFailure(thrown: unknown): unknown {
  if (!isPortcullisError(thrown) || !inUse.test(thrown.failure.why)) return thrown;
  return new PortcullisError({
    ...thrown.failure,
    ...limitInUse,
    cause: thrown,
  });
}

/**
 * Converts CRI resources to the OCI specification. Zero and empty mean "not requested" (CRI proto: default
 * 0).
 * Sources: cri-api LinuxContainerResources; runtime-spec config-linux.md#control-groups.
 */
export function toOciResources(asked: LinuxContainerResources | undefined): OciResources {
  if (asked === undefined) return {};
  const cpu = {
    ...(nonZero(asked.cpuShares) && { shares: asked.cpuShares }),
    // A new cgroup has no quota, and crun 1.8 cannot write "no quota" in version 1.
    ...(asked.cpuQuota > 0 && { quota: asked.cpuQuota }),
    ...(nonZero(asked.cpuPeriod) && { period: asked.cpuPeriod }),
    ...(asked.cpusetCpus ? { cpus: asked.cpusetCpus } : {}),
    ...(asked.cpusetMems ? { mems: asked.cpusetMems } : {}),
  };
  const memory = {
    ...(nonZero(asked.memoryLimitInBytes) && { limit: asked.memoryLimitInBytes }),
    ...(nonZero(asked.memorySwapLimitInBytes) && { swap: asked.memorySwapLimitInBytes }),
  };
  const hugepageLimits = asked.hugepageLimits.map(({ pageSize, limit }) => ({ pageSize, limit }));
  return {
    ...(Object.keys(cpu).length > 0 && { cpu }),
    ...(Object.keys(memory).length > 0 && { memory }),
    ...(hugepageLimits.length > 0 && { hugepageLimits }),
    ...(Object.keys(asked.unified).length > 0 && { unified: asked.unified }),
  };
}

function nonZero(value: number): boolean {
  return value !== 0;
}
