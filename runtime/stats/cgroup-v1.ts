import { basename } from 'node:path';
import type { CgroupMounts } from '../cgroups/cgroups.ts';
import { parseLimit } from './cgroup-files.ts';
import type { CgroupReader, ReadText } from './cgroup-files.ts';
import type { CgroupUsage } from './cgroup-reading.ts';
import { parseBlkio, parseFlatKeyed, parseNumber, parseProcesses } from './cgroup-values.ts';
import type { BlockIo } from './cgroup-values.ts';

/** Nanoseconds of one tick of `cpuacct.stat` (USER_HZ, 100 on every architecture that Node runs on). */
const tickNs = 10_000_000;

/** Where block devices are accounted, in order of preference: the I/O scheduler decides which one counts. */
const blkioFamilies = ['blkio.bfq.', 'blkio.', 'blkio.throttle.'];

/**
 * Reads version 1, also as half of a hybrid: one hierarchy per controller, named by its mount point
 * (`/sys/fs/cgroup/cpu,cpuacct`). It has no pressure per cgroup. Sources: cgroup-v1/memory.rst, cpuacct.rst,
 * blkio-controller.rst, pids.rst, hugetlb.rst.
 */
export function cgroupV1Reader(
  mounts: CgroupMounts,
  read: ReadText,
  hugepageSizes: readonly string[],
): CgroupReader {
  const roots = rootsByController(mounts);
  const file = (cgroup: string, controller: string, name: string): string | undefined => {
    const root = roots.get(controller);
    return root === undefined ? undefined : read(`${root}${cgroup}/${name}`);
  };
  const cpuTime = (cgroup: string): number | undefined =>
    parseNumber(file(cgroup, 'cpuacct', 'cpuacct.usage'));

  /** Includes the parsed memory.stat, which the detail needs as well. */
  const usageAndStat = (
    cgroup: string,
  ): { usage: Omit<CgroupUsage, 'at'>; stat: ReadonlyMap<string, number> } | undefined => {
    const usageNs = cpuTime(cgroup);
    const usageBytes = parseNumber(file(cgroup, 'memory', 'memory.usage_in_bytes'));
    const tasks = parseNumber(file(cgroup, 'pids', 'pids.current'));
    if (usageNs === undefined && usageBytes === undefined && tasks === undefined) return undefined;
    const stat = parseFlatKeyed(usageBytes === undefined ? undefined : file(cgroup, 'memory', 'memory.stat'));
    const limitBytes =
      usageBytes === undefined ? undefined : parseLimit(file(cgroup, 'memory', 'memory.limit_in_bytes'));
    const swapped = stat.get('total_swap');
    // "memsw" counts memory and swap together.
    const memoryAndSwap =
      swapped === undefined ? undefined : parseLimit(file(cgroup, 'memory', 'memory.memsw.limit_in_bytes'));
    const usage = {
      ...(usageNs !== undefined && { cpu: { usageNs } }),
      ...(usageBytes !== undefined && {
        memory: {
          usageBytes,
          ...(limitBytes !== undefined && { limitBytes }),
          inactiveFileBytes: stat.get('total_inactive_file') ?? 0,
          rssBytes: stat.get('total_rss') ?? 0,
          pageFaults: stat.get('total_pgfault') ?? 0,
          majorPageFaults: stat.get('total_pgmajfault') ?? 0,
        },
      }),
      ...(swapped !== undefined && {
        swap: {
          usageBytes: swapped,
          ...(memoryAndSwap !== undefined &&
            limitBytes !== undefined && { limitBytes: Math.max(0, memoryAndSwap - limitBytes) }),
        },
      }),
      ...(tasks !== undefined && { tasks }),
    };
    return { usage, stat };
  };

  const blockIo = (cgroup: string): BlockIo[] => {
    for (const family of blkioFamilies) {
      const bytes = file(cgroup, 'blkio', `${family}io_service_bytes_recursive`);
      const found = parseBlkio(
        bytes,
        bytes === undefined ? undefined : file(cgroup, 'blkio', `${family}io_serviced_recursive`),
      );
      if (found.length > 0) return found;
    }
    return [];
  };

  return {
    cpuTime,
    usage: (cgroup) => usageAndStat(cgroup)?.usage,
    detail: (cgroup) => {
      const found = usageAndStat(cgroup);
      if (found === undefined) return undefined;
      const { usage, stat } = found;
      const times = parseFlatKeyed(file(cgroup, 'cpuacct', 'cpuacct.stat'));
      const throttling = parseFlatKeyed(file(cgroup, 'cpu', 'cpu.stat'));
      const maxUsageBytes = parseNumber(file(cgroup, 'memory', 'memory.max_usage_in_bytes'));
      const oomKills = parseFlatKeyed(file(cgroup, 'memory', 'memory.oom_control')).get('oom_kill');
      const tasksLimit = parseLimit(file(cgroup, 'pids', 'pids.max'));
      return {
        ...usage,
        ...(usage.cpu !== undefined && {
          cpuTimes: {
            userNs: (times.get('user') ?? 0) * tickNs,
            systemNs: (times.get('system') ?? 0) * tickNs,
            periods: throttling.get('nr_periods') ?? 0,
            throttledPeriods: throttling.get('nr_throttled') ?? 0,
            throttledNs: throttling.get('throttled_time') ?? 0,
          },
        }),
        ...(usage.memory !== undefined && {
          memoryParts: {
            cacheBytes: stat.get('total_cache') ?? 0,
            mappedFileBytes: stat.get('total_mapped_file') ?? 0,
            activeFileBytes: stat.get('total_active_file') ?? 0,
            kernelBytes: parseNumber(file(cgroup, 'memory', 'memory.kmem.usage_in_bytes')) ?? 0,
            ...(maxUsageBytes !== undefined && { maxUsageBytes }),
            limitHits: parseNumber(file(cgroup, 'memory', 'memory.failcnt')) ?? 0,
            ownPageFaults: stat.get('pgfault') ?? 0,
            ownMajorPageFaults: stat.get('pgmajfault') ?? 0,
          },
        }),
        ...(oomKills !== undefined && { oomKills }),
        blockIo: blockIo(cgroup),
        ...(tasksLimit !== undefined && { tasksLimit }),
        hugepages: hugepageSizes.flatMap((pageSize) => {
          const usageBytes = parseNumber(file(cgroup, 'hugetlb', `hugetlb.${pageSize}.usage_in_bytes`));
          if (usageBytes === undefined) return [];
          const most = parseNumber(file(cgroup, 'hugetlb', `hugetlb.${pageSize}.max_usage_in_bytes`));
          return [{ pageSize, usageBytes, ...(most !== undefined && { maxUsageBytes: most }) }];
        }),
      };
    },
    oomKills: (cgroup) => parseFlatKeyed(file(cgroup, 'memory', 'memory.oom_control')).get('oom_kill'),
    processes: (cgroup) =>
      parseProcesses(file(cgroup, 'cpuacct', 'cgroup.procs') ?? file(cgroup, 'memory', 'cgroup.procs')),
  };
}

function rootsByController({ roots }: CgroupMounts): ReadonlyMap<string, string> {
  return new Map(
    roots.flatMap((root) =>
      basename(root)
        .split(',')
        .map((controller) => [controller, root] as const),
    ),
  );
}
