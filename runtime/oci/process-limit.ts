import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * The cgroup whose limit of processes is reached, of those that hold a process: its own and those above it (cgroups(7), pids.max). Runtimes do not
 * say so in words of their own, because they only see that a process of theirs ended.
 * @param pid such as the first process of a container
 * @returns its path and figures in words; undefined: none, or it cannot be found out
 */
export function reachedProcessLimit(pid: number): string | undefined {
  try {
    const lines = readFileSync(`/proc/${pid}/cgroup`, 'utf8');
    const version1 = /^\d+:(?:[^:]*,)?pids(?:,[^:]*)?:(.*)$/m.exec(lines)?.[1];
    const root = version1 === undefined ? '/sys/fs/cgroup' : '/sys/fs/cgroup/pids';
    const path = version1 ?? /^0::(.*)$/m.exec(lines)?.[1] ?? '/';
    for (let at = path; at !== '/' && at !== '.'; at = dirname(at)) {
      const [most = NaN, now = NaN] = ['pids.max', 'pids.current'].map((name) => Number(readFileSync(join(root, at, name), 'utf8')));
      if (now >= most) return `${at} has ${now} processes and threads, and its limit (pids.max) is ${most}`;
    }
  } catch {
    // Why it failed stays what the runtime said.
  }
  return undefined;
}
