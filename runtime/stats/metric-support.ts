import { existsSync, readFileSync } from 'node:fs';
import type { CgroupMounts } from '../cgroups/cgroups.ts';
import type { MetricSupport } from './metric-descriptors.ts';

/** Returns the metrics that this kernel supports. */
export function metricSupport({ version, roots }: CgroupMounts): MetricSupport {
  const controllers = (): string[] => {
    try {
      return readFileSync(`${roots[0] ?? ''}/cgroup.controllers`, 'utf8')
        .trim()
        .split(' ');
    } catch {
      return [];
    }
  };
  return {
    pressure: version === 2 && existsSync('/proc/pressure/cpu'),
    hugetlb:
      version === 2
        ? controllers().includes('hugetlb')
        : roots.some((root) => root.split(/[/,]/).includes('hugetlb')),
    hugetlbMaximum: version === 1,
  };
}
