import type { BlockIo, Pressure } from './cgroup-values.ts';

/** What a cgroup uses now, the same for every version of cgroups. Absent parts: the kernel does not account them. */
export interface CgroupUsage {
  /** When it was read: nanoseconds since 1970. */
  readonly at: bigint;
  readonly cpu?: {
    /** CPU time of all cores since the cgroup was made. */
    readonly usageNs: number;
    /** Cores in use over the latest second or so, times 10⁹; absent until two samples were taken. */
    readonly nanoCores?: number;
    readonly pressure?: Pressure;
  };
  readonly memory?: {
    readonly usageBytes: number;
    /** Absent: no limit. */
    readonly limitBytes?: number;
    /** Page cache that could be dropped at once. */
    readonly inactiveFileBytes: number;
    readonly rssBytes: number;
    readonly pageFaults: number;
    readonly majorPageFaults: number;
    readonly pressure?: Pressure;
  };
  readonly swap?: {
    readonly usageBytes: number;
    /** Absent: no limit. */
    readonly limitBytes?: number;
  };
  readonly ioPressure?: Pressure;
  /** Processes and threads. */
  readonly tasks?: number;
}

/** All that cAdvisor's metrics need beyond {@link CgroupUsage}. */
export interface CgroupDetail extends CgroupUsage {
  readonly cpuTimes?: {
    readonly userNs: number;
    readonly systemNs: number;
    readonly periods: number;
    readonly throttledPeriods: number;
    readonly throttledNs: number;
  };
  readonly memoryParts?: {
    readonly cacheBytes: number;
    readonly mappedFileBytes: number;
    readonly activeFileBytes: number;
    readonly kernelBytes: number;
    readonly maxUsageBytes?: number;
    /** How often the limit was hit. */
    readonly limitHits: number;
    /** Faults of this cgroup alone, where the kernel tells them apart. */
    readonly ownPageFaults: number;
    readonly ownMajorPageFaults: number;
  };
  /** Processes that the kernel killed for want of memory. */
  readonly oomKills?: number;
  readonly blockIo: readonly NamedBlockIo[];
  /** Absent: no limit. */
  readonly tasksLimit?: number;
  readonly hugepages: readonly { readonly pageSize: string; readonly usageBytes: number; readonly maxUsageBytes?: number }[];
  readonly processes?: ProcessCounts;
}

export interface NamedBlockIo extends BlockIo {
  /** `/dev/sda`; `MAJOR:MINOR` of a device without a name. */
  readonly name: string;
}

/** What the processes of a container hold, as /proc tells. */
export interface ProcessCounts {
  readonly processes: number;
  readonly descriptors: number;
  readonly sockets: number;
  /** RLIMIT_NOFILE of the first process; absent when it is gone or has none. */
  readonly openFilesLimit?: number;
}

/** Usage − what could be dropped at once, never below zero: what the kubelet evicts by. Source: cAdvisor, "working set". */
export function workingSetOf(memory: NonNullable<CgroupUsage['memory']>): number {
  return Math.max(0, memory.usageBytes - memory.inactiveFileBytes);
}
