import { readFileSync, readdirSync } from 'node:fs';
import { processIdentity, sameProcess } from '../../base/process/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';

/**
 * Kills processes of test files that run longer than `limitMs`. The time limit of Node's runner does not
 * suffice: a process whose tests have ended but that keeps a server open never exits, and the runner waits
 * for it.
 * @param files the test files, as they appear in the arguments of the processes
 * @param onKilled called for each file whose process was killed
 * @returns a function that stops the watch
 */
export function watchOverdue(
  files: readonly string[],
  limitMs: number,
  onKilled: (file: string) => void,
): () => void {
  const seen = new Map<
    string,
    { readonly identity: ProcessIdentity; readonly file: string; readonly since: number }
  >();
  const look = (): void => {
    for (const { identity, file } of children(files)) {
      const key = `${identity.pid} ${identity.startTime}`;
      if (!seen.has(key)) seen.set(key, { identity, file, since: performance.now() });
    }
    for (const [key, { identity, file, since }] of seen) {
      if (!sameProcess(identity)) seen.delete(key);
      else if (performance.now() - since > limitMs) {
        process.kill(identity.pid, 'SIGKILL');
        seen.delete(key);
        onKilled(file);
      }
    }
  };
  const timer = setInterval(look, Math.min(5000, limitMs / 4));
  timer.unref();
  return () => clearInterval(timer);
}

/** Returns the processes that this process started for test files. */
function children(files: readonly string[]): { readonly identity: ProcessIdentity; readonly file: string }[] {
  return readdirSync('/proc').flatMap((name) => {
    try {
      if (!/^\d+$/.test(name) || parentOf(name) !== process.pid) return [];
      const words = readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0');
      const file = files.find((each) => words.some((word) => word === each || word.endsWith(`/${each}`)));
      const identity = processIdentity(Number(name));
      return file === undefined || identity === undefined ? [] : [{ identity, file }];
    } catch {
      // The process has just ended.
      return [];
    }
  });
}

/** Field 4 of /proc/PID/stat (proc_pid_stat(5)). */
function parentOf(pid: string): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
}
