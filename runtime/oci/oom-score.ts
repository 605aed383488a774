import { readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { effectiveCapabilities } from '../../base/kernel/index.ts';

/** The lowest oom_score_adj that a child of this process may be given: without CAP_SYS_RESOURCE its own (proc_pid_oom_score_adj(5)). */
export function oomScoreFloor(): number {
  if (effectiveCapabilities().includes('SYS_RESOURCE')) return -1000;
  return Number(readFileSync('/proc/self/oom_score_adj', 'utf8'));
}

/**
 * Gives a process, and with it all that it starts, the score of another. Runtimes set the score of a container's first process only: a command that is
 * run in the container later would have the daemon's, which is nearly beyond the OOM killer. A process that has ended is passed over.
 * @throws EACCES without CAP_SYS_RESOURCE where `from` has a lower score than `to`
 */
export async function copyOomScore(from: number, to: number): Promise<void> {
  try {
    await writeFile(`/proc/${to}/oom_score_adj`, await readFile(`/proc/${from}/oom_score_adj`));
  } catch (thrown) {
    if (!['ENOENT', 'ESRCH'].includes((thrown as NodeJS.ErrnoException).code ?? '')) throw thrown;
  }
}
