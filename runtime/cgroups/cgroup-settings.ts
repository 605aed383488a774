import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { LinuxContainerResources } from '../cri/contract/contract.types.ts';
import type { CgroupMounts } from './cgroups.ts';

/** A file of a cgroup and the value to write to it. */
interface Setting {
  readonly controller: 'cpu' | 'memory';
  readonly file: string;
  readonly value: string;
}

/** No quota of processor time in version 1. */
export const noQuota: readonly Setting[] = [{ controller: 'cpu', file: 'cpu.cfs_quota_us', value: '-1' }];

/**
 * Returns the settings of the cgroup of a whole pod. Pure. Zero is omitted; -1 means no limit.
 * Sources: Documentation/admin-guide/cgroup-v1/memory.rst, scheduler/sched-bwc.rst, cgroup-v2.rst. The weight
 * is converted as in runc.
 */
export function podSettings(
  version: 1 | 2,
  resources: Pick<LinuxContainerResources, 'cpuShares' | 'cpuQuota' | 'cpuPeriod' | 'memoryLimitInBytes'>,
): Setting[] {
  const { cpuShares, cpuQuota, cpuPeriod, memoryLimitInBytes } = resources;
  const period = cpuPeriod === 0 ? 100_000 : cpuPeriod;
  const settings: (Setting | false)[] =
    version === 1
      ? [
          cpuShares !== 0 && { controller: 'cpu', file: 'cpu.shares', value: String(cpuShares) },
          cpuQuota !== 0 && { controller: 'cpu', file: 'cpu.cfs_period_us', value: String(period) },
          cpuQuota !== 0 && { controller: 'cpu', file: 'cpu.cfs_quota_us', value: String(cpuQuota) },
          memoryLimitInBytes !== 0 && {
            controller: 'memory',
            file: 'memory.limit_in_bytes',
            value: String(memoryLimitInBytes),
          },
        ]
      : [
          cpuShares !== 0 && { controller: 'cpu', file: 'cpu.weight', value: String(weight(cpuShares)) },
          cpuQuota !== 0 && {
            controller: 'cpu',
            file: 'cpu.max',
            value: `${cpuQuota < 0 ? 'max' : cpuQuota} ${period}`,
          },
          memoryLimitInBytes !== 0 && {
            controller: 'memory',
            file: 'memory.max',
            value: memoryLimitInBytes < 0 ? 'max' : String(memoryLimitInBytes),
          },
        ];
  return settings.filter((setting) => setting !== false);
}

function weight(shares: number): number {
  return 1 + Math.floor(((Math.min(Math.max(shares, 2), 262_144) - 2) * 9_999) / 262_142);
}

/**
 * Writes settings of a cgroup. A cgroup that does not exist has no process yet.
 * @throws PortcullisError RUNTIME_CGROUP_LIMIT_FAILED
 */
export async function writeCgroupSettings(
  mounts: CgroupMounts,
  path: string,
  settings: readonly Setting[],
): Promise<void> {
  for (const { controller, file, value } of settings) {
    const root =
      mounts.version === 2
        ? mounts.roots[0]
        : mounts.roots.find((one) => basename(one).split(',').includes(controller));
    if (root === undefined || !existsSync(join(root, path, file))) continue;
    try {
      await writeFile(join(root, path, file), value);
    } catch (thrown) {
      throw new PortcullisError({
        code: 'RUNTIME_CGROUP_LIMIT_FAILED',
        kind: 'precondition',
        attempted: `set ${file} of cgroup ${path} to`,
        on: value,
        why: reasonOf(thrown),
        fix: 'set a limit that is not below the current usage',
        cause: thrown,
      });
    }
  }
}
