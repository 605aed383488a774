import { parseNumber } from './cgroup-values.ts';
import type { CgroupDetail, CgroupUsage } from './cgroup-reading.ts';
import type { BlockIo } from './cgroup-values.ts';

/** The text of a file, undefined when it can not be read: files of cgroupfs differ by kernel and vanish with their cgroup. */
export type ReadText = (path: string) => string | undefined;

/** What a cgroup itself tells: without names of devices and without what only /proc knows. */
export type BareDetail = Omit<CgroupDetail, 'at' | 'processes' | 'blockIo'> & { readonly blockIo: readonly BlockIo[] };

/** One version of cgroups. Paths are those of a cgroup from the root of the hierarchy; undefined: there is no such cgroup. */
export interface CgroupReader {
  /** CPU time in nanoseconds since the cgroup was made. */
  cpuTime(cgroup: string): number | undefined;
  usage(cgroup: string): Omit<CgroupUsage, 'at'> | undefined;
  detail(cgroup: string): BareDetail | undefined;
  /** Every process in the cgroup itself, not below it. */
  processes(cgroup: string): readonly number[];
}

/** A limit from here on is none: the kernel rounds "no limit" (2⁶³ − 1) to a page. Source: cAdvisor, maxMemorySize. */
const noLimitFrom = 2 ** 62;

/** A limit in bytes; undefined when there is none (`max`, or the largest number of version 1). */
export function parseLimit(text: string | undefined): number | undefined {
  const value = parseNumber(text);
  return value === undefined || value >= noLimitFrom ? undefined : value;
}
