import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { meansGone } from '../../base/errors/index.ts';
import type { CgroupMounts } from './cgroups.ts';

/**
 * Reports whether cgroups count huge pages on this host (cgroup-v1/hugetlb, cgroup-v2 "HugeTLB").
 * @throws the error of node:fs when the hierarchy cannot be read, for example without a free descriptor
 */
export function countsHugepages(mounts: CgroupMounts): boolean {
  if (mounts.version === 1) return mounts.roots.some((root) => basename(root) === 'hugetlb');
  return mounts.roots.some((root) => {
    try {
      return readFileSync(join(root, 'cgroup.controllers'), 'utf8').split(/\s+/).includes('hugetlb');
    } catch (cause) {
      if (meansGone(cause)) return false;
      throw cause;
    }
  });
}
