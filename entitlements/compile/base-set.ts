import { LAUNCHER_CALLS } from '../landlock/launcher.ts';
import { always } from '../seccomp/decision.ts';
import { defaultPolicy } from '../seccomp/default-policy.ts';
import { decisionFor, filteredPolicy } from '../seccomp/policy.ts';
import type { FilteredPolicy } from '../seccomp/policy.ts';

/**
 * What an OCI runtime itself calls between loading the filter and the container's execve: without these no container starts,
 * whatever the program. Versioned, because a runtime's release changes them (runc 1.2.8 added openat2 and statx).
 * Measured by `npm run test:base-sets` on the kernel's tracepoints: start and exec, with and without no_new_privs, a terminal, a user
 * namespace and another user; for Go's runtime also what its scheduler may call at any time. The test beside that script measures again,
 * and starts processes in containers whose profile grants nothing else.
 */
interface BaseSet {
  readonly runtime: string;
  /** The releases it was measured with. */
  readonly versions: string;
  readonly calls: string;
  /** What it calls as well and does without: answered by an error at least, and never by an end of the process. */
  readonly tried: string;
}

const BASE_SETS: readonly BaseSet[] = [
  {
    runtime: 'crun',
    versions: '1.8.1',
    calls: 'capset close execve exit_group openat prctl read rt_sigaction rt_sigprocmask setgroups setresgid setresuid statx write',
    tried: 'fchown ioctl umask',
  },
  {
    runtime: 'runc',
    versions: '1.1.5, 1.5.2',
    calls: `capget capset chdir close close_range epoll_ctl execve exit_group faccessat faccessat2 fchown fcntl fstat fstatfs futex getcwd
      getdents64 getpid getppid newfstatat openat openat2 prctl read setgid setgroups setuid statx write
      clone epoll_pwait exit gettid madvise mmap munmap nanosleep rt_sigaction rt_sigprocmask rt_sigreturn sched_yield sigaltstack tgkill`,
    tried: 'fsconfig fsmount fsopen open_tree uname',
  },
];

/** The calls a runtime needs or tries; those of every known runtime for one that is not known. */
function baseSyscalls(runtime: string, of: 'calls' | 'tried'): string[] {
  const known = BASE_SETS.filter((set) => set.runtime === runtime);
  const sets = known.length > 0 ? known : BASE_SETS;
  return [...new Set(sets.flatMap((set) => set[of].split(/\s+/)))].sort();
}

/**
 * The base set as a policy that grants it and nothing else: of clone, threads and processes but no namespaces.
 * @param launched with what the launcher of Landlock calls too
 */
export function basePolicy(runtime: string, launched = false): FilteredPolicy {
  const ordinary = defaultPolicy([]);
  const names = [...baseSyscalls(runtime, 'calls'), ...(launched ? LAUNCHER_CALLS : [])];
  return filteredPolicy(
    // The tightest fallback: joined with a profile's, it leaves that as it is.
    'kill-process',
    [
      ...baseSyscalls(runtime, 'tried')
        .filter((name) => !names.includes(name))
        .map((name) => [name, always('errno 1')] as const),
      ...[...new Set(names)].map(
        (name) => [name, name === 'clone' && ordinary.filtered ? decisionFor(ordinary, name) : always('allow')] as const,
      ),
    ],
  );
}
