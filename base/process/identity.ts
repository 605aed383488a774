import { readFileSync } from 'node:fs';
import { PortcullisError, meansGone, meansShortage, reasonOf } from '../errors/index.ts';

/**
 * The identity of a process. A pid alone is not enough, because the kernel reuses it. The start time is field
 * 22 of /proc/PID/stat, in clock ticks since boot.
 */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTime: string;
  readonly bootId: string;
}

let bootId: string | undefined;

/** Returns the id that the kernel gave to this boot. */
export function currentBootId(): string {
  bootId ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return bootId;
}

/**
 * Returns the identity of a live process, or undefined. A zombie does not count as live. A process whose
 * first thread has ended looks like a zombie, but lives as long as another of its threads. Source:
 * proc_pid_stat(5).
 * @throws PortcullisError PROCESS_UNREADABLE when it cannot be determined whether the process lives
 */
export function processIdentity(pid: number): ProcessIdentity | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch (cause) {
    if (meansGone(cause)) return undefined;
    throw unreadable(pid, cause);
  }
  // The command name may contain spaces and parentheses, so fields are counted from the last ')'.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const state = fields[0];
  const startTime = fields[19];
  if (state === undefined || startTime === undefined || state === 'X') return undefined;
  if (state === 'Z' && Number(fields[17]) <= 1) return undefined;
  return { pid, startTime, bootId: currentBootId() };
}

/**
 * Returns whether exactly this process still lives.
 * @throws PortcullisError PROCESS_UNREADABLE when this cannot be determined
 */
export function sameProcess(identity: ProcessIdentity): boolean {
  const now = identity.bootId === currentBootId() ? processIdentity(identity.pid) : undefined;
  // The identity in a damaged file may have no time.
  if (now === undefined) return false;
  return now.startTime === identity.startTime;
}

function unreadable(pid: number, cause: unknown): PortcullisError {
  const exhausted = meansShortage(cause);
  return new PortcullisError({
    code: 'PROCESS_UNREADABLE',
    kind: exhausted ? 'exhausted' : 'internal',
    attempted: 'check whether a process lives',
    on: String(pid),
    why: reasonOf(cause),
    fix: exhausted
      ? 'raise the limit of open files of this process, and find out which files it has open'
      : 'see the reason, and make /proc readable',
    cause,
  });
}
