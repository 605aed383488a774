import type { Entitlement } from './entitlement.ts';

/** Parts of the kernel that the default profile keeps closed, one entitlement each. */
export const KERNEL_ENTITLEMENTS: readonly Entitlement[] = [
  {
    name: 'kernel.io-uring',
    title: 'Asynchronous I/O by io_uring, whose requests no system call filter sees',
    risk: 'high',
    grants: { syscalls: ['io_uring_enter', 'io_uring_register', 'io_uring_setup'] },
    tests: { allows: ['io_uring_setup()', 'io_uring_enter()', 'io_uring_register()'], denies: ['bpf()'] },
  },
  {
    name: 'kernel.bpf',
    title: 'Loads programs into the kernel, and reads kernel memory with them',
    risk: 'critical',
    grants: { capabilities: ['BPF', 'PERFMON'], syscalls: ['bpf', 'perf_event_open'] },
    tests: {
      allows: ['CAP_BPF', 'CAP_PERFMON', 'bpf(BPF_PROG_LOAD)'],
      denies: ['CAP_SYS_ADMIN', 'CAP_NET_ADMIN'],
    },
  },
  {
    name: 'kernel.keyring',
    title: 'The kernel’s keyrings, which belong to a user and not to a container',
    risk: 'medium',
    grants: { syscalls: ['add_key', 'keyctl', 'request_key'] },
    tests: { allows: ['keyctl(KEYCTL_READ)', 'add_key()', 'request_key()'], denies: ['read /proc/keys'] },
  },
  {
    name: 'kernel.user-namespaces',
    title:
      'Makes namespaces and is root in them: sandboxes of browsers, rootless containers. Opens much of the kernel to any user',
    risk: 'high',
    grants: { syscalls: ['clone', 'clone3', 'mount', 'pivot_root', 'setns', 'umount2', 'unshare'] },
    tests: {
      allows: ['clone(CLONE_NEWUSER)', 'unshare(CLONE_NEWUSER|CLONE_NEWNET)', 'clone3()'],
      denies: ['CAP_SYS_ADMIN', 'bpf()'],
    },
  },
  {
    name: 'kernel.mounts',
    title: 'Mounts file systems inside the container; CAP_SYS_ADMIN allows more than that',
    risk: 'critical',
    grants: {
      capabilities: ['SYS_ADMIN'],
      syscalls: [
        'fsconfig',
        'fsmount',
        'fsopen',
        'fspick',
        'mount',
        'mount_setattr',
        'move_mount',
        'open_tree',
        'open_tree_attr',
        'pivot_root',
        'umount2',
      ],
    },
    tests: {
      allows: ['CAP_SYS_ADMIN', 'mount()', 'umount2()', 'fsopen()'],
      denies: ['bpf()', 'setns(3, CLONE_NEWNET)', 'unshare(CLONE_NEWUSER)'],
    },
  },
  {
    name: 'kernel.perf',
    title: 'Counts and samples events of the processor, including those of the kernel',
    risk: 'high',
    grants: { capabilities: ['PERFMON'], syscalls: ['perf_event_open'] },
    tests: { allows: ['CAP_PERFMON', 'perf_event_open()'], denies: ['bpf()'] },
  },
  {
    name: 'kernel.clocks',
    title: 'Sets the clocks of the host',
    risk: 'high',
    grants: {
      capabilities: ['SYS_TIME'],
      syscalls: ['adjtimex', 'clock_adjtime', 'clock_settime', 'settimeofday'],
    },
    tests: {
      allows: ['CAP_SYS_TIME', 'clock_settime(CLOCK_REALTIME)', 'settimeofday()'],
      denies: ['CAP_SYS_ADMIN'],
    },
  },
  {
    name: 'kernel.log',
    title: 'Reads the kernel’s log, which contains addresses of kernel memory',
    risk: 'medium',
    grants: { capabilities: ['SYSLOG'], syscalls: ['syslog'] },
    tests: { allows: ['CAP_SYSLOG', 'syslog(SYSLOG_ACTION_READ_ALL)'], denies: ['CAP_SYS_ADMIN'] },
  },
  {
    name: 'kernel.scheduling',
    title: 'Raises priorities, binds memory and processors',
    risk: 'medium',
    grants: {
      capabilities: ['SYS_NICE'],
      syscalls: [
        'get_mempolicy',
        'mbind',
        'migrate_pages',
        'move_pages',
        'set_mempolicy',
        'set_mempolicy_home_node',
      ],
    },
    tests: { allows: ['CAP_SYS_NICE', 'mbind()'], denies: ['CAP_SYS_RESOURCE'] },
  },
  {
    name: 'kernel.cgroups',
    title: 'Creates cgroups below its own and sets limits in them: a writable /sys/fs/cgroup',
    risk: 'medium',
    grants: { writableCgroups: true },
    tests: { allows: ['cgroups'], denies: ['CAP_SYS_ADMIN', 'mount()', 'unsafe sysctls'] },
  },
  {
    name: 'kernel.sysctls',
    title: 'A pod sets any sysctl of its namespaces, not only those that Kubernetes calls safe',
    risk: 'medium',
    grants: { anySysctl: true },
    tests: { allows: ['unsafe sysctls'], denies: ['write /proc/sys/kernel/core_pattern'] },
  },
  ...(['x86', 'x32', 'arm'] as const).map((architecture): Entitlement => ({
    name: `kernel.architecture.${architecture}`,
    title: `Programs for ${architecture} run as well, by the kernel’s second set of system calls`,
    risk: 'medium',
    grants: { architectures: [architecture] },
    tests: {
      allows: [`architecture ${architecture}`],
      denies: [`architecture ${architecture === 'arm' ? 'x86' : 'arm'}`],
    },
  })),
];
