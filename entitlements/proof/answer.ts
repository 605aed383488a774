import { errnoOf } from '../seccomp/outcome.ts';
import type { Outcome } from '../seccomp/outcome.ts';

/** SECCOMP_RET_* (linux/seccomp.h). */
const KILL_PROCESS = 0x80000000;
const KILL_THREAD = 0x00000000;
const TRAP = 0x00030000;
const ERRNO = 0x00050000;
const USER_NOTIF = 0x7fc00000;
const TRACE = 0x7ff00000;
const LOG = 0x7ffc0000;
const ALLOW = 0x7fff0000;

const MAX_ERRNO = 4095;

/** Actions whose lower 16 bits the kernel reads. */
export const ACTIONS_WITH_DATA: readonly number[] = [ERRNO, TRAP, TRACE];
/** Actions whose lower 16 bits the kernel ignores. */
export const ACTIONS_WITHOUT_DATA: readonly number[] = [KILL_THREAD, USER_NOTIF, LOG, ALLOW];

/**
 * Converts a filter's 32-bit return value to what the kernel does (kernel/seccomp.c, __seccomp_filter): the
 * lower 16 bits matter only for errno (at most 4095), trap and trace, and an unknown action kills the
 * process. Equal numbers mean equal answers.
 */
export function answerOf(value: number): number {
  const action = (value & 0xffff0000) >>> 0;
  const data = value & 0xffff;
  if (action === ERRNO) return (ERRNO | Math.min(data, MAX_ERRNO)) >>> 0;
  if (action === TRAP || action === TRACE) return (action | data) >>> 0;
  return ACTIONS_WITHOUT_DATA.includes(action) ? action : KILL_PROCESS;
}

/**
 * Converts an outcome of a policy to an answer. On purpose, this is separate from the code generator's
 * version.
 */
export function answerOfOutcome(outcome: Outcome): number {
  switch (outcome) {
    case 'allow':
      return ALLOW;
    case 'log':
      return LOG;
    case 'trap':
      return TRAP;
    case 'kill-thread':
      return KILL_THREAD;
    case 'kill-process':
      return KILL_PROCESS;
    default:
      return ERRNO + (errnoOf(outcome) ?? 1);
  }
}

/**
 * Returns the rank of an answer. A higher rank grants more: allow, log, trace, notify, errno 4095 … errno 0,
 * trap, kill-thread, kill-process.
 */
export function answerRank(answer: number): number {
  const action = (answer & 0xffff0000) >>> 0;
  switch (action) {
    case ALLOW:
      return 0;
    case LOG:
      return -1;
    case TRACE:
      return -2;
    case USER_NOTIF:
      return -3;
    case ERRNO:
      return (answer & 0xffff) - 5000;
    case TRAP:
      return -6000;
    case KILL_THREAD:
      return -6001;
    default:
      return -6002;
  }
}

/** Returns what an answer grants: errnos, traps and kills are equal, because none of them makes the call. */
export function grantOf(answer: number): number {
  return answerRank(answer) > answerRank(ERRNO | MAX_ERRNO) ? answer : ERRNO;
}

/** Describes an answer: `allow`, `errno 1`, `kill-thread`. */
export function answerText(answer: number): string {
  const action = (answer & 0xffff0000) >>> 0;
  const data = answer & 0xffff;
  switch (action) {
    case ALLOW:
      return 'allow';
    case LOG:
      return 'log';
    case TRACE:
      return `trace ${data}`;
    case USER_NOTIF:
      return 'notify';
    case ERRNO:
      return `errno ${data}`;
    case TRAP:
      return data === 0 ? 'trap' : `trap ${data}`;
    case KILL_THREAD:
      return 'kill-thread';
    default:
      return 'kill-process';
  }
}
