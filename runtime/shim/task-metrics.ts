import { createCodecs, parseDeclaration } from '../../base/protobuf/index.ts';
import type { Any } from './contract.types.ts';

/**
 * The resource usage of a task, as its shim measures it. In a sandbox, the cgroups of the node do not show
 * it.
 */
export interface TaskUsage {
  /** Nanoseconds of all processors since the task was created. */
  readonly cpuNs: number;
  readonly memoryBytes: number;
  readonly inactiveFileBytes: number;
  readonly rssBytes: number;
  readonly pageFaults: number;
  readonly majorPageFaults: number;
  readonly tasks: number;
}

interface Version1 {
  readonly pids?: { readonly current: number };
  readonly cpu?: { readonly usage?: { readonly total: number } };
  readonly memory?: {
    readonly rss: number;
    readonly pgFault: number;
    readonly pgMajFault: number;
    readonly totalInactiveFile: number;
    readonly usage?: { readonly usage: number };
  };
}

interface Version2 {
  readonly pids?: { readonly current: number };
  readonly cpu?: { readonly usageUsec: number };
  readonly memory?: {
    readonly anon: number;
    readonly inactiveFile: number;
    readonly pgfault: number;
    readonly pgmajfault: number;
    readonly usage: number;
  };
}

/** containerd/cgroups, cgroup1/stats/metrics.proto and cgroup2/stats/metrics.proto. */
const codec = createCodecs(
  parseDeclaration({
    package: 'io.containerd.cgroups',
    messages: {
      Pids: { current: '1 uint64' },
      Version1: { pids: '2 Pids', cpu: '3 Cpu1', memory: '4 Memory1' },
      Cpu1: { usage: '1 CpuUsage' },
      CpuUsage: { total: '1 uint64' },
      Memory1: {
        rss: '2 uint64',
        pgFault: '9 uint64',
        pgMajFault: '10 uint64',
        totalInactiveFile: '30 uint64',
        usage: '33 MemoryEntry',
      },
      MemoryEntry: { usage: '2 uint64' },
      Version2: { pids: '1 Pids', cpu: '2 Cpu2', memory: '4 Memory2' },
      Cpu2: { usageUsec: '1 uint64' },
      Memory2: {
        anon: '1 uint64',
        inactiveFile: '13 uint64',
        pgfault: '18 uint64',
        pgmajfault: '19 uint64',
        usage: '32 uint64',
      },
    },
  }),
  { mostFields: 4_096 },
);
const version1 = codec<Version1>('Version1');
const version2 = codec<Version2>('Version2');

/** About 146 years of one processor. The CRI cannot express much more (uint64), nor the rate of it. */
const mostCpuNs = 2 ** 62;

/**
 * Returns the usage in a shim's answer to Stats. Undefined: it answers with a message of another kind.
 * @throws Error for an unreadable message, and for an impossible processor time: with it, the statistics of
 * all containers of the node could not be answered
 */
export function readTaskMetrics({ typeUrl, value }: Any): TaskUsage | undefined {
  const name = typeUrl.replace(/^.*\//, '');
  if (name === 'io.containerd.cgroups.v1.Metrics') {
    const { pids, cpu, memory } = version1.decode(value);
    return {
      cpuNs: possible(cpu?.usage?.total ?? 0),
      memoryBytes: memory?.usage?.usage ?? 0,
      inactiveFileBytes: memory?.totalInactiveFile ?? 0,
      rssBytes: memory?.rss ?? 0,
      pageFaults: memory?.pgFault ?? 0,
      majorPageFaults: memory?.pgMajFault ?? 0,
      tasks: pids?.current ?? 0,
    };
  }
  if (name !== 'io.containerd.cgroups.v2.Metrics') return undefined;
  const { pids, cpu, memory } = version2.decode(value);
  return {
    cpuNs: possible((cpu?.usageUsec ?? 0) * 1_000),
    memoryBytes: memory?.usage ?? 0,
    inactiveFileBytes: memory?.inactiveFile ?? 0,
    rssBytes: memory?.anon ?? 0,
    pageFaults: memory?.pgfault ?? 0,
    majorPageFaults: memory?.pgmajfault ?? 0,
    tasks: pids?.current ?? 0,
  };
}

function possible(cpuNs: number): number {
  if (cpuNs <= mostCpuNs) return cpuNs;
  throw new Error(`the shim reports a processor time of ${Math.round(cpuNs / 1e9)} s`);
}
