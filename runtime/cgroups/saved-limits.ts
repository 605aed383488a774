import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { LinuxContainerResources } from '../cri/contract/contract.types.ts';
import { rootOf, unlessUnknown } from './cgroups.ts';
import type { CgroupMounts } from './cgroups.ts';

/** The limits of version 1 that an update can change; the controller is the part before the first dot. */
const limitsOfVersion1 = [
  'cpu.shares',
  'cpu.cfs_period_us',
  'cpu.cfs_quota_us',
  'cpuset.cpus',
  'cpuset.mems',
  'memory.limit_in_bytes',
  'memory.memsw.limit_in_bytes',
];
const limitsOfVersion2 = [
  'cpu.weight',
  'cpu.max',
  'cpuset.cpus',
  'cpuset.mems',
  'memory.max',
  'memory.swap.max',
];

/**
 * Reads the limits of a cgroup that an update can change. An OCI runtime writes them one after another, and
 * leaves the first ones changed when the kernel refuses a later one. cri-api requires that an update changes
 * all or nothing.
 * @param update names further limits: huge pages, and settings of version 2
 * @returns writes the limits back that differ by now. A limit that the kernel refuses stays as it is
 * @throws when the limits cannot be read, for example without free descriptors
 */
export async function saveLimits(
  mounts: CgroupMounts,
  path: string,
  update: Pick<LinuxContainerResources, 'hugepageLimits' | 'unified'>,
): Promise<() => Promise<void>> {
  const { version } = mounts;
  const pages = update.hugepageLimits.map(({ pageSize }) => `hugetlb.${pageSize}`);
  const names =
    version === 2
      ? [...limitsOfVersion2, ...pages.map((page) => `${page}.max`), ...Object.keys(update.unified)]
      : [...limitsOfVersion1, ...pages.map((page) => `${page}.limit_in_bytes`)];
  const saved: { readonly file: string; readonly value: string }[] = [];
  for (const name of new Set(names)) {
    const root = version === 2 ? mounts.roots[0] : rootOf(mounts, name.split('.')[0] ?? '');
    if (root === undefined) continue;
    const file = join(root, path, name);
    const value = await readFile(file, 'utf8').catch(unlessUnknown(undefined));
    if (value !== undefined) saved.push({ file, value });
  }
  return async () => {
    // Twice, because one limit can depend on another: version 1 refuses a limit of memory above that of
    // memory and swap.
    for (let round = 0; round < 2; round += 1)
      for (const { file, value } of saved) {
        const now = await readFile(file, 'utf8').catch(() => value);
        if (now !== value) await writeFile(file, value).catch(() => undefined);
      }
  };
}
