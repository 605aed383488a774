/**
 * Calls of 32-bit architectures that 64-bit architectures do not have, mapped to the native call that does
 * the same. Sources: arch/x86/entry/syscalls/syscall_32.tbl, arch/arm/tools/syscall.tbl. Calls without an
 * equivalent are not listed, and get the policy's fallback (vm86, bdflush, pciconfig_*, breakpoint, usr26,
 * usr32 …).
 */
export const COMMON_EQUIVALENTS: Readonly<Record<string, string>> = {
  _llseek: 'lseek',
  _newselect: 'select',
  fcntl64: 'fcntl',
  fstat64: 'fstat',
  fstatat64: 'newfstatat',
  fstatfs64: 'fstatfs',
  ftruncate64: 'ftruncate',
  lstat64: 'lstat',
  mmap2: 'mmap',
  nice: 'setpriority',
  sendfile64: 'sendfile',
  sigaction: 'rt_sigaction',
  sigpending: 'rt_sigpending',
  sigprocmask: 'rt_sigprocmask',
  sigreturn: 'rt_sigreturn',
  sigsuspend: 'rt_sigsuspend',
  stat64: 'stat',
  statfs64: 'statfs',
  truncate64: 'truncate',
  ugetrlimit: 'getrlimit',
  ...wide(
    'chown fchown getegid geteuid getgid getgroups getresgid getresuid getuid lchown setfsgid setfsuid setgid setgroups setregid',
    '32',
  ),
  ...wide('setresgid setresuid setreuid setuid', '32'),
  ...wide(
    'clock_adjtime clock_gettime clock_settime timer_gettime timer_settime timerfd_gettime timerfd_settime',
    '64',
  ),
  ...wide(
    'clock_getres clock_nanosleep futex io_pgetevents mq_timedreceive mq_timedsend ppoll pselect6 recvmmsg',
    '_time64',
  ),
  ...wide('rt_sigtimedwait sched_rr_get_interval semtimedop utimensat', '_time64'),
};

export const X86_EQUIVALENTS: Readonly<Record<string, string>> = {
  fadvise64_64: 'fadvise64',
  oldfstat: 'fstat',
  oldlstat: 'lstat',
  oldolduname: 'uname',
  oldstat: 'stat',
  olduname: 'uname',
  readdir: 'getdents',
  sgetmask: 'rt_sigprocmask',
  signal: 'rt_sigaction',
  ssetmask: 'rt_sigprocmask',
  stime: 'settimeofday',
  umount: 'umount2',
  waitpid: 'wait4',
};

export const ARM_EQUIVALENTS: Readonly<Record<string, string>> = {
  arm_fadvise64_64: 'fadvise64',
  arm_sync_file_range: 'sync_file_range',
  // A thread's own pointer, and its own caches: every program on arm makes these calls when it starts.
  cacheflush: 'arch_prctl',
  get_tls: 'arch_prctl',
  recv: 'recvfrom',
  send: 'sendto',
  set_tls: 'arch_prctl',
};

/** The multiplexers of x86 and the calls behind them (net/socket.c, ipc/syscall.c). */
export const MULTIPLEXED: Readonly<Record<string, readonly string[]>> = {
  socketcall:
    words(`accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg sendmsg sendto
    setsockopt shutdown socket socketpair`),
  ipc: words('msgctl msgget msgrcv msgsnd semctl semget semop semtimedop shmat shmctl shmdt shmget'),
};

/**
 * The first argument whose position or width differs from the native call: a 64-bit argument takes two
 * registers, x86's old calls take a pointer to their arguments, clone has tls and child_tid in the opposite
 * order, old signal calls have other structures, calls without the suffix 32 read 16 bits of each user and
 * group (kernel/uid16.c), x32 has one register for the offset of preadv2 (fs/read_write.c).
 */
export const SPLIT_FROM: Readonly<Record<'arm' | 'x32' | 'x86', Readonly<Record<string, number>>>> = {
  x32: { preadv2: 4, pwritev2: 4 },
  x86: {
    ...common(),
    mmap: 0,
    select: 0,
    sgetmask: 0,
    ssetmask: 0,
    signal: 0,
    nice: 0,
    readdir: 2,
    umount: 1,
    stime: 0,
    _llseek: 1,
  },
  arm: {
    ...common(),
    arm_fadvise64_64: 1,
    arm_sync_file_range: 1,
    set_tls: 0,
    get_tls: 0,
    cacheflush: 0,
    nice: 0,
    recv: 4,
    send: 4,
    _llseek: 1,
  },
};

function common(): Record<string, number> {
  return {
    chown: 1,
    clone: 3,
    fadvise64: 1,
    fadvise64_64: 1,
    fallocate: 2,
    fanotify_mark: 2,
    fchown: 1,
    fstatfs64: 1,
    ftruncate: 1,
    ftruncate64: 1,
    lchown: 1,
    lookup_dcookie: 0,
    mmap2: 5,
    pread64: 3,
    preadv: 3,
    preadv2: 3,
    pwrite64: 3,
    pwritev: 3,
    pwritev2: 3,
    quotactl: 3,
    readahead: 1,
    setfsgid: 0,
    setfsuid: 0,
    setgid: 0,
    setregid: 0,
    setresgid: 0,
    setresuid: 0,
    setreuid: 0,
    setuid: 0,
    sigaction: 3,
    sigprocmask: 3,
    sigsuspend: 0,
    statfs64: 1,
    sync_file_range: 1,
    truncate: 1,
    truncate64: 1,
  };
}

function words(text: string): string[] {
  return text.split(/\s+/);
}

function wide(names: string, suffix: string): Record<string, string> {
  return Object.fromEntries(words(names).map((name) => [`${name}${suffix}`, name]));
}
