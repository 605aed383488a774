import type { ContainerRecord } from '../containers/record.ts';
import type { TaskUsage } from '../shim/task-metrics.ts';
import type { CgroupUsage } from './cgroup-reading.ts';

/**
 * Reads what a container with a kernel of its own uses. Undefined: the cgroup of the container says it.
 * Rejects if it is not known now.
 */
export type ReadTaskUsage = (record: ContainerRecord) => Promise<TaskUsage | undefined> | undefined;

/** Between two samples of a rate. */
const [shortestMs, longestMs] = [500, 60_000];

/**
 * Creates the readings of containers whose usage their shim measures.
 * @returns a function that returns the readings of those among the containers, by their ids. One whose shim
 * does not answer has none
 */
export function createTaskUsages(
  read: ReadTaskUsage,
): (records: readonly ContainerRecord[]) => Promise<ReadonlyMap<string, CgroupUsage | undefined>> {
  let samples = new Map<
    string,
    { readonly atMs: number; readonly cpuNs: number; readonly nanoCores?: number }
  >();
  // The clock of the node may be set back or forward between two samples.
  const rateOf = (id: string, atMs: number, cpuNs: number): number | undefined => {
    const before = samples.get(id);
    const passed = before === undefined ? 0 : atMs - before.atMs;
    if (before !== undefined && passed < shortestMs) return before.nanoCores;
    const isRate = before !== undefined && passed <= longestMs && cpuNs >= before.cpuNs;
    const nanoCores = isRate ? Math.round(((cpuNs - before.cpuNs) / passed) * 1e3) : undefined;
    samples.set(id, { atMs, cpuNs, ...(nanoCores !== undefined && { nanoCores }) });
    return nanoCores;
  };
  const forgetOld = (nowMs: number): void => {
    samples = new Map([...samples].filter(([, { atMs }]) => nowMs - atMs <= longestMs));
  };
  return async (records) => {
    const [now, nowMs] = [BigInt(Date.now()) * 1_000_000n, performance.now()];
    forgetOld(nowMs);
    const entries = records.flatMap((record) => {
      const reading = read(record);
      return reading === undefined ? [] : [{ id: record.id, reading }];
    });
    const found = await Promise.all(
      entries.map(async ({ id, reading }) => {
        const usage = await reading.catch(() => undefined);
        return [id, usage && cgroupUsage(usage, now, rateOf(id, nowMs, usage.cpuNs))] as const;
      }),
    );
    return new Map(found);
  };
}

function cgroupUsage(usage: TaskUsage, at: bigint, nanoCores: number | undefined): CgroupUsage {
  return {
    at,
    cpu: { usageNs: usage.cpuNs, ...(nanoCores !== undefined && { nanoCores }) },
    memory: {
      usageBytes: usage.memoryBytes,
      inactiveFileBytes: usage.inactiveFileBytes,
      rssBytes: usage.rssBytes,
      pageFaults: usage.pageFaults,
      majorPageFaults: usage.majorPageFaults,
    },
    tasks: usage.tasks,
  };
}
