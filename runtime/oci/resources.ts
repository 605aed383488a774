import type { LinuxContainerResources } from '../cri/contract/contract.types.ts';
import type { OciResources } from './spec.types.ts';

/**
 * CRI resources as the OCI specification says them. Zero and empty mean "not asked" (CRI proto: default 0).
 * Sources: cri-api LinuxContainerResources; runtime-spec config-linux.md#control-groups.
 */
export function toOciResources(asked: LinuxContainerResources | undefined): OciResources {
  if (asked === undefined) return {};
  const cpu = {
    ...(nonZero(asked.cpuShares) && { shares: asked.cpuShares }),
    ...(nonZero(asked.cpuQuota) && { quota: asked.cpuQuota }),
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
