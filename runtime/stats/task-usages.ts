import type { ContainerRecord } from '../containers/record.ts';
import type { TaskUsage } from '../shim/task-metrics.ts';
import type { CgroupUsage } from './cgroup-reading.ts';

/**
 * Reads what a container with a kernel of its own uses. Undefined: the cgroup of the container says it.
 * Rejects if it is not known now.
 */
export type ReadTaskUsage = (record: ContainerRecord) => Promise<TaskUsage | undefined> | undefined;

/** Between two samples of a rate. */
const [shortestNs, longestNs] = [500_000_000n, 60_000_000_000n];

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
    { readonly at: bigint; readonly cpuNs: number; readonly nanoCores?: number }
  >();
  const rateOf = (id: string, at: bigint, cpuNs: number): number | undefined => {
    const before = samples.get(id);
    const passed = before === undefined ? 0n : at - before.at;
    if (before !== undefined && passed < shortestNs) return before.nanoCores;
    const isRate = before !== undefined && passed <= longestNs && cpuNs >= before.cpuNs;
    const nanoCores = isRate ? Math.round(((cpuNs - before.cpuNs) * 1e9) / Number(passed)) : undefined;
    samples.set(id, { at, cpuNs, ...(nanoCores !== undefined && { nanoCores }) });
    return nanoCores;
  };
  const forgetOld = (now: bigint): void => {
    samples = new Map([...samples].filter(([, { at }]) => now - at <= longestNs));
  };
  return async (records) => {
    const now = BigInt(Date.now()) * 1_000_000n;
    forgetOld(now);
    const entries = records.flatMap((record) => {
      const reading = read(record);
      return reading === undefined ? [] : [{ id: record.id, reading }];
    });
    const found = await Promise.all(
      entries.map(async ({ id, reading }) => {
        const usage = await reading.catch(() => undefined);
        return [id, usage && cgroupUsage(usage, now, rateOf(id, now, usage.cpuNs))] as const;
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
