import { readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { effectiveCapabilities } from '../../base/kernel/index.ts';

/**
 * Returns the lowest oom_score_adj that a child of this process may get. Without CAP_SYS_RESOURCE this is the
 * process's own (proc_pid_oom_score_adj(5)).
 */
export function oomScoreFloor(): number {
  if (effectiveCapabilities().includes('SYS_RESOURCE')) return -1000;
  return Number(readFileSync('/proc/self/oom_score_adj', 'utf8'));
}

/**
 * Copies the OOM score of one process to another process and to all processes that it starts. Runtimes only
 * set the score of a container's first process. A command that runs in the container later would otherwise
 * have the daemon's score, which almost excludes it from the OOM killer. A process that has ended is skipped.
 * @throws EACCES without CAP_SYS_RESOURCE when `from` has a lower score than `to`
 */
export async function copyOomScore(from: number, to: number): Promise<void> {
  try {
    await writeFile(`/proc/${to}/oom_score_adj`, await readFile(`/proc/${from}/oom_score_adj`));
  } catch (thrown) {
    if (!['ENOENT', 'ESRCH'].includes((thrown as NodeJS.ErrnoException).code ?? '')) throw thrown;
  }
}
