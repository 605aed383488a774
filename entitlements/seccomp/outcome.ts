/**
 * What a seccomp filter answers for one system call. A chain, from granting most to granting least:
 * allow, log, errno 4095 … errno 1, trap, kill-thread, kill-process (seccomp(2), "SECCOMP_RET_*" precedence).
 * Among error numbers the higher is the looser: ENOSYS leaves libc an older call to fall back on, EPERM ends the attempt.
 */
export type Outcome = 'allow' | 'log' | `errno ${number}` | 'trap' | 'kill-thread' | 'kill-process';

export const EPERM: Outcome = 'errno 1';
export const ENOSYS: Outcome = 'errno 38';

const MAX_ERRNO = 4095;

/** The errno of an outcome, or undefined when it is another kind. */
export function errnoOf(outcome: Outcome): number | undefined {
  return outcome.startsWith('errno ') ? Number(outcome.slice(6)) : undefined;
}

/** An errno outcome. Errno 0 would answer success without doing anything, and above 4095 the kernel caps it: both are refused by the callers' schemas; here they are clamped to 1…4095. */
export function errno(number: number): Outcome {
  return `errno ${Math.min(MAX_ERRNO, Math.max(1, Math.trunc(number)))}`;
}

/** Higher grants more. */
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
 * What a filter with this fallback answers for calls newer than its tables: ENOSYS where it would answer an errno,
 * because libc takes EPERM for a final no and ENOSYS for "try the older call". runc does the same (libcontainer/seccomp/patchbpf).
 */
export function beyondTables(fallback: Outcome): Outcome {
  return errnoOf(fallback) === undefined ? fallback : ENOSYS;
}

/** The 32-bit return value of a filter (linux/seccomp.h). */
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
