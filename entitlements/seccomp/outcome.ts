/**
 * The answer of a seccomp filter to one system call. The outcomes are totally ordered, from the one that
 * grants most to the one that grants least: allow, log, errno 4095 … errno 1, trap, kill-thread, kill-process
 * (seccomp(2), "SECCOMP_RET_*" precedence). A higher error number is looser: ENOSYS lets libc fall back to an
 * older call, EPERM ends the attempt.
 */
export type Outcome = 'allow' | 'log' | `errno ${number}` | 'trap' | 'kill-thread' | 'kill-process';

export const EPERM: Outcome = 'errno 1';
export const ENOSYS: Outcome = 'errno 38';

const MAX_ERRNO = 4095;

/** Returns the errno of an outcome, or undefined for another outcome. */
export function errnoOf(outcome: Outcome): number | undefined {
  return outcome.startsWith('errno ') ? Number(outcome.slice(6)) : undefined;
}

/**
 * Returns an errno outcome. Errno 0 would report success without doing anything, and the kernel caps values
 * above 4095. The callers' schemas refuse both; here they are clamped to 1…4095.
 */
export function errno(number: number): Outcome {
  return `errno ${Math.min(MAX_ERRNO, Math.max(1, Math.trunc(number)))}`;
}

/** Returns the rank of an outcome. A higher rank grants more. */
export function rank(outcome: Outcome): number {
  switch (outcome) {
    case 'allow':
      return 0;
    case 'log':
      return -1;
    case 'trap':
      return -6000;
    case 'kill-thread':
      return -6001;
    case 'kill-process':
      return -6002;
    default:
      return (errnoOf(outcome) ?? 1) - 5000;
  }
}

export function tighter(a: Outcome, b: Outcome): Outcome {
  return rank(a) <= rank(b) ? a : b;
}

export function looser(a: Outcome, b: Outcome): Outcome {
  return rank(a) >= rank(b) ? a : b;
}

/**
 * Returns the answer of a filter with this fallback to calls newer than its tables: ENOSYS instead of an
 * errno, because libc treats EPERM as a final refusal and ENOSYS as "try the older call". runc does the same
 * (libcontainer/seccomp/patchbpf).
 */
export function beyondTables(fallback: Outcome): Outcome {
  return errnoOf(fallback) === undefined ? fallback : ENOSYS;
}

/** Returns the 32-bit return value of a filter (linux/seccomp.h). */
export function returnValue(outcome: Outcome): number {
  switch (outcome) {
    case 'allow':
      return 0x7fff0000;
    case 'log':
      return 0x7ffc0000;
    case 'trap':
      return 0x00030000;
    case 'kill-thread':
      return 0;
    case 'kill-process':
      return 0x80000000;
    default:
      return 0x00050000 | (errnoOf(outcome) ?? 1);
  }
}
