import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * Finds the cgroup whose limit of processes is reached, among the cgroups that hold a process: its own cgroup
 * and the cgroups above it (cgroups(7), pids.max). Runtimes do not report this limit, because they only see
 * that one of their processes ended.
 * @param pid for example the first process of a container
 * @returns a description with its path and numbers; undefined if no limit is reached, or if that cannot be
 * determined
 */
export function reachedProcessLimit(pid: number): string | undefined {
  try {
    const lines = readFileSync(`/proc/${pid}/cgroup`, 'utf8');
    const version1 = /^\d+:(?:[^:]*,)?pids(?:,[^:]*)?:(.*)$/m.exec(lines)?.[1];
    const root = version1 === undefined ? '/sys/fs/cgroup' : '/sys/fs/cgroup/pids';
    const path = version1 ?? /^0::(.*)$/m.exec(lines)?.[1] ?? '/';
    for (let at = path; at !== '/' && at !== '.'; at = dirname(at)) {
      const [most = NaN, now = NaN] = ['pids.max', 'pids.current'].map((name) =>
        Number(readFileSync(join(root, at, name), 'utf8')),
      );
      if (now >= most) return `${at} has ${now} processes and threads, and its limit (pids.max) is ${most}`;
    }
  } catch {
    // The runtime's own message remains the only reason.
  }
  return undefined;
}
