import { readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { errnoOf } from '../../base/errors/index.ts';
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

interface SavedLimit {
  readonly file: string;
  readonly value: string;
  /**
   * The processors or memory nodes in use while the cgroup names none, otherwise empty. While processes are
   * in the cgroup, the kernel does not let it name none again (cpuset.c, validate_change).
   */
  readonly inEffect: string;
}

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
  const saved: SavedLimit[] = [];
  for (const name of new Set(names)) {
    const root = version === 2 ? mounts.roots[0] : rootOf(mounts, name.split('.')[0] ?? '');
    if (root === undefined) continue;
    const file = join(root, path, name);
    const value = await readFile(file, 'utf8').catch(unlessReadable);
    if (value === undefined) continue;
    const isUnset = version === 2 && name.startsWith('cpuset.') && value.trim() === '';
    const inEffect = isUnset ? await readFile(`${file}.effective`, 'utf8').catch(unlessUnknown('')) : '';
    saved.push({ file, value, inEffect });
  }
  return async () => {
    // Twice, because one limit can depend on another: version 1 refuses a limit of memory above that of
    // memory and swap.
    for (let round = 0; round < 2; round += 1) for (const limit of saved) await writeBack(limit);
  };
}

async function writeBack({ file, value, inEffect }: SavedLimit): Promise<void> {
  const now = await readFile(file, 'utf8').catch(() => value);
  if (now === value) return;
  for (const line of linesToWrite(basename(file), value, now))
    try {
      await writeFile(file, line);
    } catch {
      if (inEffect !== '') await writeFile(file, inEffect).catch(() => undefined);
    }
}

/** A file that is only written, such as memory.reclaim, answers EINVAL: it holds no limit. */
function unlessReadable(cause: unknown): undefined {
  if (errnoOf(cause) !== 'EINVAL') return unlessUnknown(undefined)(cause);
}

/** The text that removes the limit of a device, by the file. */
const noLimit: ReadonlyMap<string, string> = new Map([
  ['io.max', 'rbps=max wbps=max riops=max wiops=max'],
  ['io.latency', 'target=0'],
  ['io.weight', 'default'],
  ['io.bfq.weight', 'default'],
]);

/**
 * Returns what restores a file. A file with several lines, such as those for each device or for each resource
 * of misc.max, takes one line in each write, and keeps what no line names. Pure.
 * Source: Documentation/admin-guide/cgroup-v2.rst, "Nested Keyed", "IO Interface Files" and "Misc".
 */
function linesToWrite(name: string, before: string, now: string): readonly string[] {
  const none = noLimit.get(name);
  const lines = before.split('\n').filter((line) => line !== '');
  if (none === undefined) return lines.length > 1 ? lines : [before];
  const keyOf = (line: string): string => line.split(' ', 1)[0] ?? '';
  const kept = new Set(lines.map(keyOf));
  const added = now
    .split('\n')
    .map(keyOf)
    .filter((key) => key !== '' && !kept.has(key));
  return [...added.map((key) => `${key} ${none}`), ...lines];
}
