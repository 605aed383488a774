import { LAUNCHER_CALLS } from '../landlock/launcher.ts';
import { always } from '../seccomp/decision.ts';
import { defaultPolicy } from '../seccomp/default-policy.ts';
import { decisionFor, filteredPolicy } from '../seccomp/policy.ts';
import type { FilteredPolicy } from '../seccomp/policy.ts';

/**
 * The calls that an OCI runtime itself makes between loading the filter and the container's execve. Without
 * them no container starts, whatever its program. The sets have versions, because a runtime's release can
 * change them (runc 1.2.8 added openat2 and statx). `npm run test:base-sets` measures them with the kernel's
 * tracepoints: start and exec, with and without no_new_privs, a terminal, a user namespace and another user;
 * for Go's runtime also the calls that its scheduler may make at any time. The test beside that script
 * measures again, and starts processes in containers whose profile grants nothing else.
 */
interface BaseSet {
  readonly runtime: string;
  /** The releases with which it was measured. */
  readonly versions: string;
  readonly calls: string;
  /** Calls that it also makes but does not need: they get at least an error, and never end the process. */
  readonly tried: string;
}

const BASE_SETS: readonly BaseSet[] = [
  {
    runtime: 'crun',
    versions: '1.8.1',
    calls:
      'capset close execve exit_group openat prctl read rt_sigaction rt_sigprocmask setgroups setresgid setresuid statx write',
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

/** Returns the calls that a runtime needs or tries. For an unknown runtime, those of all known ones. */
function baseSyscalls(runtime: string, of: 'calls' | 'tried'): string[] {
  const known = BASE_SETS.filter((set) => set.runtime === runtime);
  const sets = known.length > 0 ? known : BASE_SETS;
  return [...new Set(sets.flatMap((set) => set[of].split(/\s+/)))].sort();
}

/**
 * Returns the base set as a policy that grants only these calls: for clone, threads and processes but no
 * namespaces.
 * @param launched includes the calls of the Landlock launcher
 */
export function basePolicy(runtime: string, launched = false): FilteredPolicy {
  const ordinary = defaultPolicy([]);
  const names = [...baseSyscalls(runtime, 'calls'), ...(launched ? LAUNCHER_CALLS : [])];
  return filteredPolicy(
    // The tightest fallback: joined with a profile's fallback, it does not change it.
    'kill-process',
    [
      ...baseSyscalls(runtime, 'tried')
        .filter((name) => !names.includes(name))
        .map((name) => [name, always('errno 1')] as const),
      ...[...new Set(names)].map(
        (name) =>
          [
            name,
            name === 'clone' && ordinary.filtered ? decisionFor(ordinary, name) : always('allow'),
          ] as const,
      ),
    ],
  );
}
