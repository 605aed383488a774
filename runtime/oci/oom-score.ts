import { readFileSync } from 'node:fs';
import { effectiveCapabilities } from '../../base/kernel/index.ts';

/** The lowest oom_score_adj that a child of this process may be given: without CAP_SYS_RESOURCE its own (proc_pid_oom_score_adj(5)). */
export function oomScoreFloor(): number {
  if (effectiveCapabilities().includes('SYS_RESOURCE')) return -1000;
  return Number(readFileSync('/proc/self/oom_score_adj', 'utf8'));
}
