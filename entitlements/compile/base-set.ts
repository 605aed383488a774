import { EPERM } from '../seccomp/outcome.ts';
import { always } from '../seccomp/decision.ts';
import { filteredPolicy } from '../seccomp/policy.ts';
import type { FilteredPolicy } from '../seccomp/policy.ts';

/**
 * What an OCI runtime itself calls between loading the filter and the container's execve: without these no container starts,
 * whatever the program. Measured by the test beside this file, which starts a container whose profile grants nothing else.
 * Versioned, because a runtime's release changes them (runc 1.2.8 added openat2 and statx).
 */
interface BaseSet {
  readonly runtime: string;
  /** The releases it was measured with. */
  readonly versions: string;
  readonly calls: string;
}

const BASE_SETS: readonly BaseSet[] = [
  {
    runtime: 'crun',
    versions: '1.8.1',
    calls:
      'capset close close_range dup3 execve exit_group fcntl fstat fstatfs getdents64 openat openat2 prctl read readlinkat setgid setgroups setresgid setresuid setuid statx write',
  },
  {
    runtime: 'runc',
    versions: '1.1.5, 1.5.2',
    calls: `brk capget capset chdir close close_range dup3 epoll_create1 epoll_ctl epoll_pwait eventfd2 execve exit exit_group
      faccessat2 fchdir fchown fcntl fstat fstatfs futex getcwd getdents64 getpid getppid getrandom gettid getuid ioctl lseek madvise
      mmap mprotect munmap nanosleep newfstatat openat openat2 pipe2 prctl read readlinkat rseq rt_sigaction rt_sigprocmask rt_sigreturn
      sched_getaffinity sched_yield set_robust_list setgid setgroups setresgid setresuid setsid setuid sigaltstack statx tgkill umask
      uname write`,
  },
];

/** The calls a runtime needs; those of every known runtime for one that is not known. */
export function baseSyscalls(runtime: string): string[] {
  const known = BASE_SETS.filter((set) => set.runtime === runtime);
  const sets = known.length > 0 ? known : BASE_SETS;
  return [...new Set(sets.flatMap((set) => set.calls.split(/\s+/)))].sort();
}

/** The base set as a policy that grants it and nothing else. */
export function basePolicy(runtime: string): FilteredPolicy {
  return filteredPolicy(
    EPERM,
    baseSyscalls(runtime).map((name) => [name, always('allow')] as const),
  );
}
