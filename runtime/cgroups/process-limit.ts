import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * Finds the cgroup whose limit of processes is reached, among the cgroups that hold a process: its own cgroup
 * and the cgroups above it (cgroups(7), pids.max). Runtimes do not report this limit, because they only see
 * that one of their processes ended.
 * @param pid for example the first process of a container
 * @param room how many more processes must be possible
 * @returns a description with its path and numbers; undefined if no limit is reached, or if that cannot be
 * determined
 */
export function reachedProcessLimit(pid: number, room = 1): string | undefined {
  try {
    const lines = readFileSync(`/proc/${pid}/cgroup`, 'utf8');
    const version1 = /^\d+:(?:[^:]*,)?pids(?:,[^:]*)?:(.*)$/m.exec(lines)?.[1];
    const root = version1 === undefined ? '/sys/fs/cgroup' : '/sys/fs/cgroup/pids';
    const path = version1 ?? /^0::(.*)$/m.exec(lines)?.[1] ?? '/';
    for (let at = path; at !== '/' && at !== '.'; at = dirname(at)) {
      const [most = NaN, now = NaN] = ['pids.max', 'pids.current'].map((name) =>
        Number(readFileSync(join(root, at, name), 'utf8')),
      );
      if (now + room > most)
        return `${at} has ${now} processes and threads, and its limit (pids.max) is ${most}`;
    }
  } catch {
    // The runtime's own message remains the only reason.
  }
  return undefined;
}

/** A monitor, a runtime and the processes that both start are fewer. */
const started = 5;

/**
 * Finds the limit of processes that stops what this process starts. The programs that failed have ended since
 * then, so a limit counts as reached if it leaves no room for them.
 * @returns as {@link reachedProcessLimit}
 */
export function limitOfStarted(): string | undefined {
  return reachedProcessLimit(process.pid, started);
}
