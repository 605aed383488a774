import { readdirSync, readlinkSync } from 'node:fs';
import { attempt } from '../../base/errors/index.ts';
import type { ReadText } from './cgroup-files.ts';
import type { ProcessCounts } from './cgroup-reading.ts';

/**
 * How many descriptors of one container are checked one by one for sockets. More would take too long for this
 * value.
 */
const mostLinks = 20_000;

/**
 * Counts what processes hold (proc_pid_fd(5), proc_pid_limits(5)). A process that ends meanwhile counts with
 * what was seen of it.
 * @param first the container's first process, whose limit is returned
 */
export function countOfProcesses(
  pids: readonly number[],
  first: number | undefined,
  read: ReadText,
): ProcessCounts {
  let descriptors = 0;
  let sockets = 0;
  for (const pid of pids) {
    const folder = `/proc/${pid}/fd`;
    const names = listed(folder);
    const looked = names.slice(0, Math.max(0, mostLinks - descriptors));
    descriptors += names.length;
    for (const name of looked) if (target(`${folder}/${name}`).startsWith('socket:')) sockets += 1;
  }
  const openFilesLimit = first === undefined ? undefined : parseOpenFilesLimit(read(`/proc/${first}/limits`));
  return {
    processes: pids.length,
    descriptors,
    sockets,
    ...(openFilesLimit !== undefined && { openFilesLimit }),
  };
}

/** Returns the soft limit of `Max open files`. Undefined when there is none. */
export function parseOpenFilesLimit(limits: string | undefined): number | undefined {
  const soft = /^Max open files +(\d+)/m.exec(limits ?? '')?.[1];
  return soft === undefined ? undefined : Number(soft);
}

function listed(folder: string): string[] {
  return attempt(() => readdirSync(folder)) ?? [];
}

function target(link: string): string {
  return attempt(() => readlinkSync(link)) ?? '';
}
