import type { Capability } from '../types.ts';
import { argumentTest } from './argument-test.ts';
import { clause } from './clause.ts';
import type { Clause } from './clause.ts';
import { always, decision } from './decision.ts';
import type { Decision } from './decision.ts';
import { ENOSYS, EPERM } from './outcome.ts';
import { filteredPolicy, joinPolicies } from './policy.ts';
import type { SyscallPolicy } from './policy.ts';
import { argumentWidth } from './syscalls.ts';

/**
 * The calls that any container may make: containerd 2.4.2's default list (contrib/seccomp/seccomp_default.go,
 * Apache-2.0), as far as x86_64 and aarch64 have them. Not included: mounting, namespaces, keys, io_uring,
 * BPF, perf, userfaultfd, kexec, modules, clocks.
 */
const ALLOWED = `
accept accept4 access adjtimex alarm arch_prctl bind brk cachestat capget capset chdir chmod chown clock_adjtime clock_getres
clock_gettime clock_nanosleep close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl
epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat
faccessat2 fadvise64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr
flock fork fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex futex_requeue futex_wait futex_waitv futex_wake futimesat
get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid
getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit getrusage getsid getsockname getsockopt gettid
gettimeofday getuid getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy
io_getevents io_pgetevents io_setup io_submit ioctl ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset
landlock_restrict_self lchown lgetxattr link linkat listen listmount listxattr listxattrat llistxattr lremovexattr lseek lsetxattr
lsm_get_self_attr lsm_list_modules lsm_set_self_attr lstat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore
mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap modify_ldt mprotect mq_getsetattr mq_notify mq_open mq_timedreceive
mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep
newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll prctl
pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv process_vm_writev pselect6 ptrace pwrite64 pwritev pwritev2 read
readahead readlink readlinkat readv recvfrom recvmmsg recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2
restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget
semop semtimedop sendfile sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsuid setgid setgroups
setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid setsockopt setuid setxattr setxattrat shmat
shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 splice stat statfs statmount statx symlink symlinkat sync
sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create
timerfd_gettime timerfd_settime times tkill truncate umask uname unlink unlinkat uretprobe utime utimensat utimes vfork vmsplice
wait4 waitid write writev`;

/** Values of linux/socket.h and linux/netlink.h. */
const AF_NETLINK = 16n;
const AF_KEY = 15n;
const NETLINK_XFRM = 6n;

/**
 * Address families that socket() and socketpair() may use with any protocol: 0…45 of linux/socket.h without
 * AF_KEY (15: IPsec keys), AF_NETLINK (16: see {@link NETLINK_PROTOCOLS}), AF_RXRPC (33: CVE-2026-43500,
 * CVE-2026-31635), AF_ALG (38: the kernel's cryptography, CVE-2026-31431) and AF_VSOCK (40: reaches across
 * network namespaces). The kernel reads an int, and so does the condition.
 */
const SOCKET_FAMILIES: readonly (readonly [bigint, bigint])[] = [
  [0n, 14n],
  [17n, 32n],
  [34n, 37n],
  [39n, 39n],
  [41n, 45n],
];

/**
 * Protocols of AF_NETLINK: all below MAX_LINKS (32) except NETLINK_XFRM, which configures IPsec
 * (CVE-2026-43284, CVE-2026-46300).
 */
const NETLINK_PROTOCOLS: readonly (readonly [bigint, bigint])[] = [
  [0n, 5n],
  [7n, 31n],
];

/** personality(2): Linux with and without UNAME26, 32-bit address limit off, and the query (0xffffffff). */
const PERSONALITIES: readonly bigint[] = [0x0n, 0x8n, 0x20000n, 0x20008n, 0xffffffffn];

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET (linux/sched.h). */
const NAMESPACE_FLAGS = 0x7e020000n;

/**
 * Calls that a capability enables. Without the capability, filtering them is harmless and granting them is
 * useless.
 */
const BY_CAPABILITY: Readonly<Record<Capability, string>> = {
  BPF: 'bpf',
  DAC_READ_SEARCH: 'open_by_handle_at',
  PERFMON: 'perf_event_open',
  SYS_ADMIN: `bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount open_tree
    perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount2 unshare`,
  SYS_BOOT: 'reboot',
  SYS_CHROOT: 'chroot',
  SYSLOG: 'syslog',
  SYS_MODULE: 'delete_module init_module finit_module',
  SYS_NICE: 'get_mempolicy mbind set_mempolicy set_mempolicy_home_node',
  SYS_PACCT: 'acct',
  SYS_PTRACE: 'kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace',
  SYS_RAWIO: 'iopl ioperm',
  SYS_TIME: 'settimeofday clock_settime',
  SYS_TTY_CONFIG: 'vhangup',
};

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}

interface Values {
  readonly low?: bigint;
  readonly high?: bigint;
  readonly mask?: bigint;
  readonly value?: bigint;
}

/** Returns a clause over one argument of the named call, in the width that the kernel reads. */
function argument(name: string, index: number, set: Values): Clause {
  const test = argumentTest(index, argumentWidth(name, index), set);
  return test === undefined ? [] : clause([test]);
}

/** Returns a clause over the family and the protocol (arguments 0 and 2) of socket() or socketpair(). */
function netlink(name: string, low: bigint, high: bigint): Clause {
  return clause([
    ...argument(name, 0, { low: AF_NETLINK, high: AF_NETLINK }),
    ...argument(name, 2, { low, high }),
  ]);
}

const SOCKET_CALLS = ['socket', 'socketpair'] as const;

/**
 * The kernel serves AF_KEY and NETLINK_XFRM only to processes with CAP_NET_ADMIN. With it they are allowed;
 * without it they would only add attack surface.
 */
const IPSEC_SOCKETS: SyscallPolicy = filteredPolicy(
  EPERM,
  SOCKET_CALLS.map(
    (name) =>
      [
        name,
        allowIf([
          argument(name, 0, { low: AF_KEY, high: AF_KEY }),
          netlink(name, NETLINK_XFRM, NETLINK_XFRM),
        ]),
      ] as const,
  ),
);

function allowIf(clauses: readonly Clause[]): Decision {
  return decision(
    EPERM,
    clauses.map((when) => ({ outcome: 'allow', when })),
  );
}

/** Returns the names of the calls that a capability enables. */
export function callsOfCapability(name: Capability): string[] {
  return words(BY_CAPABILITY[name] ?? '');
}

/**
 * Capabilities that grant a call only for some of its arguments: {@link callsOfCapability} does not list
 * these calls.
 */
export const CAPABILITIES_WITH_CONDITIONS: readonly Capability[] = ['NET_ADMIN'];

/** Returns the calls that a capability enables: with all arguments, except the sockets of NET_ADMIN. */
export function policyOfCapability(name: Capability): SyscallPolicy {
  if (name === 'NET_ADMIN') return IPSEC_SOCKETS;
  return filteredPolicy(
    EPERM,
    callsOfCapability(name).map((call) => [call, always('allow')] as const),
  );
}

let base: SyscallPolicy | undefined;

function basePolicy(): SyscallPolicy {
  base ??= filteredPolicy(EPERM, [
    ...words(ALLOWED).map((name) => [name, always('allow')] as const),
    ...SOCKET_CALLS.map(
      (name) =>
        [
          name,
          allowIf([
            ...SOCKET_FAMILIES.map(([low, high]) => argument(name, 0, { low, high })),
            ...NETLINK_PROTOCOLS.map(([low, high]) => netlink(name, low, high)),
          ]),
        ] as const,
    ),
    [
      'personality',
      allowIf(PERSONALITIES.map((value) => argument('personality', 0, { low: value, high: value }))),
    ],
    ['clone', allowIf([argument('clone', 0, { mask: NAMESPACE_FLAGS, value: 0n })])],
    // Its flags are behind a pointer. ENOSYS makes libc fall back to clone.
    ['clone3', always(ENOSYS)],
  ]);
  return base;
}

/** Returns the default filter of a container with these capabilities, derived as in docker and containerd. */
export function defaultPolicy(capabilities: readonly Capability[]): SyscallPolicy {
  return capabilities.map(policyOfCapability).reduce(joinPolicies, basePolicy());
}
