import { readdirSync, readlinkSync } from 'node:fs';
import type { ReadText } from './cgroup-files.ts';
import type { ProcessCounts } from './cgroup-reading.ts';

/** Descriptors that are looked at one by one for sockets, of one container: more would take longer than the answer is worth. */
const mostLinks = 20_000;

/**
 * What processes hold (proc_pid_fd(5), proc_pid_limits(5)). A process that ends meanwhile counts for what was seen of it.
 * @param first the container's first process, whose limit is told
 */
export function countOfProcesses(pids: readonly number[], first: number | undefined, read: ReadText): ProcessCounts {
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
  return { processes: pids.length, descriptors, sockets, ...(openFilesLimit !== undefined && { openFilesLimit }) };
}

/** The soft limit of `Max open files`; undefined when there is none. */
export function parseOpenFilesLimit(limits: string | undefined): number | undefined {
  const soft = /^Max open files +(\d+)/m.exec(limits ?? '')?.[1];
  return soft === undefined ? undefined : Number(soft);
}

function listed(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function target(link: string): string {
  try {
    return readlinkSync(link);
  } catch {
    return '';
  }
}
