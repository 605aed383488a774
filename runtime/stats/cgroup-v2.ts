import type { CgroupMounts } from '../cgroups/cgroups.ts';
import { parseLimit, withCgroupsBelow } from './cgroup-files.ts';
import type { CgroupReader, ReadText } from './cgroup-files.ts';
import type { CgroupUsage } from './cgroup-reading.ts';
import { parseFlatKeyed, parseIoStat, parseNumber, parsePressure, parseProcesses } from './cgroup-values.ts';

type Values = ReadonlyMap<string, number>;

/**
 * Reads version 2: one hierarchy, whose memory values include the cgroups below. Source: cgroup-v2.rst,
 * "Controllers".
 */
export function cgroupV2Reader(
  mounts: CgroupMounts,
  read: ReadText,
  hugepageSizes: readonly string[],
): CgroupReader {
  const root = mounts.roots[0] ?? '/sys/fs/cgroup';
  const file = (cgroup: string, name: string): string | undefined => read(`${root}${cgroup}/${name}`);
  const microseconds = (values: Values, key: string): number | undefined => {
    const value = values.get(key);
    return value === undefined ? undefined : value * 1000;
  };

  /** Includes the parsed cpu.stat and memory.stat, which the detail needs as well. */
  const usageAndStats = (
    cgroup: string,
  ): { usage: Omit<CgroupUsage, 'at'>; cpu: Values; memory: Values } | undefined => {
    const cpu = parseFlatKeyed(file(cgroup, 'cpu.stat'));
    const usageNs = microseconds(cpu, 'usage_usec');
    const usageBytes = parseNumber(file(cgroup, 'memory.current'));
    const tasks = parseNumber(file(cgroup, 'pids.current'));
    if (usageNs === undefined && usageBytes === undefined && tasks === undefined) return undefined;
    const memory = parseFlatKeyed(usageBytes === undefined ? undefined : file(cgroup, 'memory.stat'));
    const limitBytes = usageBytes === undefined ? undefined : parseLimit(file(cgroup, 'memory.max'));
    const swapped = parseNumber(file(cgroup, 'memory.swap.current'));
    const swapLimit = swapped === undefined ? undefined : parseLimit(file(cgroup, 'memory.swap.max'));
    const [cpuPressure, memoryPressure, ioPressure] = ['cpu', 'memory', 'io'].map((kind) =>
      parsePressure(file(cgroup, `${kind}.pressure`)),
    );
    const usage = {
      ...(usageNs !== undefined && {
        cpu: { usageNs, ...(cpuPressure !== undefined && { pressure: cpuPressure }) },
      }),
      ...(usageBytes !== undefined && {
        memory: {
          usageBytes,
          ...(limitBytes !== undefined && { limitBytes }),
          inactiveFileBytes: memory.get('inactive_file') ?? 0,
          rssBytes: memory.get('anon') ?? 0,
          pageFaults: memory.get('pgfault') ?? 0,
          majorPageFaults: memory.get('pgmajfault') ?? 0,
          ...(memoryPressure !== undefined && { pressure: memoryPressure }),
        },
      }),
      ...(swapped !== undefined && {
        swap: { usageBytes: swapped, ...(swapLimit !== undefined && { limitBytes: swapLimit }) },
      }),
      ...(ioPressure !== undefined && { ioPressure }),
      ...(tasks !== undefined && { tasks }),
    };
    return { usage, cpu, memory };
  };

  return {
    cpuTime: (cgroup) => microseconds(parseFlatKeyed(file(cgroup, 'cpu.stat')), 'usage_usec'),
    usage: (cgroup) => usageAndStats(cgroup)?.usage,
    detail: (cgroup) => {
      const found = usageAndStats(cgroup);
      if (found === undefined) return undefined;
      const { usage, cpu, memory } = found;
      const maxUsageBytes = parseNumber(file(cgroup, 'memory.peak'));
      const events = parseFlatKeyed(file(cgroup, 'memory.events'));
      const oomKills = events.get('oom_kill');
      const tasksLimit = parseLimit(file(cgroup, 'pids.max'));
      return {
        ...usage,
        ...(usage.cpu !== undefined && {
          cpuTimes: {
            userNs: microseconds(cpu, 'user_usec') ?? 0,
            systemNs: microseconds(cpu, 'system_usec') ?? 0,
            periods: cpu.get('nr_periods') ?? 0,
            throttledPeriods: cpu.get('nr_throttled') ?? 0,
            throttledNs: microseconds(cpu, 'throttled_usec') ?? 0,
          },
        }),
        ...(usage.memory !== undefined && {
          memoryParts: {
            cacheBytes: memory.get('file') ?? 0,
            mappedFileBytes: memory.get('file_mapped') ?? 0,
            activeFileBytes: memory.get('active_file') ?? 0,
            kernelBytes: kernelMemory(memory),
            ...(maxUsageBytes !== undefined && { maxUsageBytes }),
            limitHits: events.get('max') ?? 0,
            ownPageFaults: usage.memory.pageFaults,
            ownMajorPageFaults: usage.memory.majorPageFaults,
          },
        }),
        ...(oomKills !== undefined && { oomKills }),
        blockIo: parseIoStat(file(cgroup, 'io.stat')),
        ...(tasksLimit !== undefined && { tasksLimit }),
        hugepages: hugepageSizes.flatMap((pageSize) => {
          const usageBytes = parseNumber(file(cgroup, `hugetlb.${pageSize}.current`));
          return usageBytes === undefined ? [] : [{ pageSize, usageBytes }];
        }),
      };
    },
    oomKills: (cgroup) => parseFlatKeyed(file(cgroup, 'memory.events')).get('oom_kill'),
    processes: (cgroup) =>
      withCgroupsBelow(`${root}${cgroup}`).flatMap((path) => parseProcesses(read(`${path}/cgroup.procs`))),
  };
}

/** `kernel` exists from Linux 5.18 on. Before that, its parts are added. */
function kernelMemory(stat: Values): number {
  return (
    stat.get('kernel') ??
    ['kernel_stack', 'pagetables', 'percpu', 'sock', 'slab'].reduce(
      (sum, key) => sum + (stat.get(key) ?? 0),
      0,
    )
  );
}
