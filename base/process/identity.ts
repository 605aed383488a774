import { readFileSync } from 'node:fs';

/** Who a process is: a pid alone is reused. Start time is field 22 of /proc/PID/stat, in clock ticks since boot. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTime: string;
  readonly bootId: string;
}

let bootId: string | undefined;

export function currentBootId(): string {
  bootId ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return bootId;
}

/** The identity of a live process (a zombie counts as not live), or undefined. Source: proc_pid_stat(5). */
export function processIdentity(pid: number): ProcessIdentity | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  // The command name may hold blanks and parentheses: fields are counted from the last ')'.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const state = fields[0];
  const startTime = fields[19];
  if (state === undefined || startTime === undefined || state === 'Z' || state === 'X') return undefined;
  return { pid, startTime, bootId: currentBootId() };
}

/** Whether that very process still lives. */
export function sameProcess(identity: ProcessIdentity): boolean {
  const now = identity.bootId === currentBootId() ? processIdentity(identity.pid) : undefined;
  return now?.startTime === identity.startTime;
}
