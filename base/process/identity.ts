import { readFileSync } from 'node:fs';
import { PortcullisError, reasonOf } from '../errors/index.ts';

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

/**
 * Whether a failure to read of a process means that there is none: no such file, or no such process (it ended between the opening and the
 * reading). Any other, such as EMFILE of a reader without free descriptors, says nothing of the process.
 */
export function meansGone(thrown: unknown): boolean {
  return codeOf(thrown) === 'ENOENT' || codeOf(thrown) === 'ESRCH';
}

/** Whether a failure means that this process or the machine has no descriptor or memory left, and nothing else. */
export function meansShortage(thrown: unknown): boolean {
  return ['EMFILE', 'ENFILE', 'ENOMEM'].includes(String(codeOf(thrown)));
}

/**
 * The identity of a live process (a zombie counts as not live), or undefined. Source: proc_pid_stat(5).
 * @throws PortcullisError PROCESS_UNREADABLE when it cannot be found out whether it lives
 */
export function processIdentity(pid: number): ProcessIdentity | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch (cause) {
    if (meansGone(cause)) return undefined;
    throw unreadable(pid, cause);
  }
  // The command name may hold blanks and parentheses: fields are counted from the last ')'.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const state = fields[0];
  const startTime = fields[19];
  if (state === undefined || startTime === undefined || state === 'Z' || state === 'X') return undefined;
  return { pid, startTime, bootId: currentBootId() };
}

/**
 * Whether that very process still lives.
 * @throws PortcullisError PROCESS_UNREADABLE when it cannot be found out
 */
export function sameProcess(identity: ProcessIdentity): boolean {
  const now = identity.bootId === currentBootId() ? processIdentity(identity.pid) : undefined;
  return now?.startTime === identity.startTime;
}

function codeOf(thrown: unknown): unknown {
  return thrown instanceof Error && 'code' in thrown ? thrown.code : undefined;
}

function unreadable(pid: number, cause: unknown): PortcullisError {
  const exhausted = meansShortage(cause);
  return new PortcullisError({
    code: 'PROCESS_UNREADABLE',
    kind: exhausted ? 'exhausted' : 'internal',
    attempted: 'look whether a process lives',
    on: String(pid),
    why: reasonOf(cause),
    fix: exhausted ? 'raise the limit of open files of this process, and see what holds them' : 'see the reason; /proc must be readable',
    cause,
  });
}
