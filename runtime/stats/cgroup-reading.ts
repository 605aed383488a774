import type { BlockIo, Pressure } from './cgroup-values.ts';

/**
 * The current usage of a cgroup, the same for every version of cgroups. Absent parts are not accounted by the
 * kernel.
 */
export interface CgroupUsage {
  /** When it was read: nanoseconds since 1970. */
  readonly at: bigint;
  readonly cpu?: {
    /** CPU time of all cores since the cgroup was created. */
    readonly usageNs: number;
    /** Cores in use over about the latest second, times 10⁹. Absent until two samples were taken. */
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

/** All values that cAdvisor's metrics need beyond {@link CgroupUsage}. */
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
    /** Faults of this cgroup alone, where the kernel counts them separately. */
    readonly ownPageFaults: number;
    readonly ownMajorPageFaults: number;
  };
  /** Processes that the kernel killed because memory ran out. */
  readonly oomKills?: number;
  readonly blockIo: readonly NamedBlockIo[];
  /** Absent: no limit. */
  readonly tasksLimit?: number;
  readonly hugepages: readonly {
    readonly pageSize: string;
    readonly usageBytes: number;
    readonly maxUsageBytes?: number;
  }[];
  readonly processes?: ProcessCounts;
}

export interface NamedBlockIo extends BlockIo {
  /** `/dev/sda`, or `MAJOR:MINOR` for a device without a name. */
  readonly name: string;
}

/** Resources that the processes of a container hold, from /proc. */
export interface ProcessCounts {
  readonly processes: number;
  readonly descriptors: number;
  readonly sockets: number;
  /** RLIMIT_NOFILE of the first process. Absent when the process no longer exists or has no limit. */
  readonly openFilesLimit?: number;
}

/**
 * Returns usage minus memory that could be dropped at once, never below zero. The kubelet evicts by this
 * value. Source: cAdvisor, "working set".
 */
export function workingSetOf(memory: NonNullable<CgroupUsage['memory']>): number {
  return Math.max(0, memory.usageBytes - memory.inactiveFileBytes);
}
