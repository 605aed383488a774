import { opendirSync } from 'node:fs';
import { attempt } from '../../base/errors/index.ts';
import { parseNumber } from './cgroup-values.ts';
import type { CgroupDetail, CgroupUsage } from './cgroup-reading.ts';
import type { BlockIo } from './cgroup-values.ts';

/**
 * Returns the text of a file. Undefined when it cannot be read: files of cgroupfs differ by kernel and vanish
 * with their cgroup.
 */
export type ReadText = (path: string) => string | undefined;

/**
 * The values that a cgroup itself provides: without names of devices and without values that only /proc has.
 */
export type BareDetail = Omit<CgroupDetail, 'at' | 'processes' | 'blockIo'> & {
  readonly blockIo: readonly BlockIo[];
};

/**
 * Reads one version of cgroups. Paths are relative to the root of the hierarchy. Undefined: the cgroup does
 * not exist.
 */
export interface CgroupReader {
  /** CPU time in nanoseconds since the cgroup was created. */
  cpuTime(cgroup: string): number | undefined;
  usage(cgroup: string): Omit<CgroupUsage, 'at'> | undefined;
  detail(cgroup: string): BareDetail | undefined;
  /** Processes that the kernel killed because memory ran out. */
  oomKills(cgroup: string): number | undefined;
  /** Every process in the cgroup, in version 2 also below it: commands of ExecSync and Exec run there. */
  processes(cgroup: string): readonly number[];
}

/**
 * A limit of at least this value means no limit: the kernel rounds "no limit" (2⁶³ − 1) to a page. Source:
 * cAdvisor, maxMemorySize.
 */
const noLimitFrom = 2 ** 62;

/**
 * Parses a limit in bytes. Returns undefined when there is none (`max`, or the largest number of version 1).
 */
export function parseLimit(text: string | undefined): number | undefined {
  const value = parseNumber(text);
  return value === undefined || value >= noLimitFrom ? undefined : value;
}

/** A container that may write its cgroups can create many. */
const mostCgroups = 256;

/** Returns the folder of a cgroup and those below it, at most {@link mostCgroups}, the highest ones first. */
export function withCgroupsBelow(folder: string): string[] {
  const found = [folder];
  for (const one of found) if (found.length < mostCgroups) attempt(() => addFolders(one, found));
  return found;
}

function addFolders(folder: string, found: string[]): void {
  const entries = opendirSync(folder);
  try {
    for (let entry = entries.readSync(); entry !== null; entry = entries.readSync()) {
      if (!entry.isDirectory()) continue;
      if (found.push(`${folder}/${entry.name}`) >= mostCgroups) return;
    }
  } finally {
    entries.closeSync();
  }
}
