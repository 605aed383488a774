import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { LinuxContainerResources } from '../cri/contract/contract.types.ts';
import type { CgroupMounts } from './cgroups.ts';

/**
 * A kubelet sends a limit of 0 for every page size of the machine whatever the pod asks for. Where no controller counts huge pages such
 * a limit can not be set and takes nothing from anybody, so it falls away; a limit that gives pages stays, and the runtime refuses it.
 */
export function withoutIdleHugepageLimits<T extends LinuxContainerResources | undefined>(asked: T, controlled: boolean): T {
  if (asked === undefined || controlled) return asked;
  return { ...asked, hugepageLimits: asked.hugepageLimits.filter(({ limit }) => limit !== 0) };
}

/** Whether cgroups count huge pages here (cgroup-v1/hugetlb, cgroup-v2 "HugeTLB"). */
export function countsHugepages(mounts: CgroupMounts): boolean {
  if (mounts.version === 1) return mounts.roots.some((root) => basename(root) === 'hugetlb');
  return mounts.roots.some((root) => {
    try {
      return readFileSync(join(root, 'cgroup.controllers'), 'utf8').split(/\s+/).includes('hugetlb');
    } catch {
      return false;
    }
  });
}
