import { callsOfCapability } from '../seccomp/default-policy.ts';
import type { Entitlement } from './entitlement.ts';

/** Calls that inspect other processes. */
const INSPECTION = [
  'ptrace',
  'process_vm_readv',
  'process_vm_writev',
  'kcmp',
  'pidfd_getfd',
  'process_madvise',
];

/** Capabilities that change identity, read other processes or administer the kernel. */
const IDENTITY_AND_ADMINISTRATION: readonly string[] = [
  'DAC_OVERRIDE',
  'FSETID',
  'LINUX_IMMUTABLE',
  'MAC_ADMIN',
  'MAC_OVERRIDE',
  'SETFCAP',
  'SETGID',
  'SETPCAP',
  'SETUID',
  'SYSLOG',
  'SYS_ADMIN',
  'SYS_MODULE',
  'SYS_PTRACE',
  'SYS_RAWIO',
];

const ADMINISTRATION = [
  ...IDENTITY_AND_ADMINISTRATION,
  'AUDIT_CONTROL',
  'AUDIT_READ',
  'AUDIT_WRITE',
  'DAC_READ_SEARCH',
  'SYS_BOOT',
  'SYS_NICE',
  'SYS_PACCT',
  'SYS_RESOURCE',
  'SYS_TIME',
  'SYS_TTY_CONFIG',
  'WAKE_ALARM',
].sort();

export const SECURITY_ENTITLEMENTS: readonly Entitlement[] = [
  {
    name: 'security.confined',
    title: 'No way to change identity, gain privileges or look into other processes',
    risk: 'low',
    grants: {},
    excludes: {
      capabilities: [...IDENTITY_AND_ADMINISTRATION, 'DAC_READ_SEARCH', 'SYS_RESOURCE'].sort(),
      // libentitlement also blocks arch_prctl and madvise, without which no libc program starts. It intends
      // to restrict prctl, but runtimes need prctl to drop the bounding set, and dropping capabilities is
      // harmless.
      syscalls: [...INSPECTION, 'personality'],
      privilegeGain: true,
    },
    tests: {
      allows: ['execve()', 'arch_prctl()', 'madvise()', 'prctl(PR_CAPBSET_DROP)', 'CAP_CHOWN'],
      denies: [
        'CAP_SETUID',
        'CAP_DAC_OVERRIDE',
        'ptrace(PTRACE_ATTACH)',
        'personality(PER_LINUX)',
        'privileges by exec',
      ],
    },
  },
  {
    name: 'security.view',
    title: 'Reads any file of the container, changes no identity',
    risk: 'medium',
    grants: { capabilities: ['DAC_READ_SEARCH'] },
    excludes: {
      capabilities: ['AUDIT_READ', ...IDENTITY_AND_ADMINISTRATION],
      // With DAC_READ_SEARCH, open_by_handle_at opens files outside the container.
      syscalls: [...INSPECTION, 'personality', 'open_by_handle_at'],
    },
    tests: {
      allows: ['CAP_DAC_READ_SEARCH'],
      denies: ['CAP_DAC_OVERRIDE', 'CAP_SETUID', 'open_by_handle_at()', 'ptrace()'],
    },
  },
  {
    name: 'security.admin',
    title: 'Administers the kernel: mounts, modules, namespaces, tracing. Equivalent to root on the host',
    risk: 'critical',
    grants: {
      capabilities: ADMINISTRATION,
      syscalls: [
        ...new Set([
          ...ADMINISTRATION.flatMap(callsOfCapability),
          'arch_prctl',
          'keyctl',
          'madvise',
          'personality',
          'pivot_root',
          'prctl',
          'setgid',
          'setuid',
        ]),
      ].sort(),
      writablePaths: true,
    },
    tests: {
      allows: [
        'CAP_SYS_ADMIN',
        'mount()',
        'init_module()',
        'setns(3, CLONE_NEWNET)',
        'keyctl()',
        'write /proc/sys/kernel/core_pattern',
      ],
      denies: ['CAP_NET_ADMIN', 'io_uring_setup()', 'device b 8:0 r'],
    },
  },
  {
    name: 'security.memory-lock',
    title: 'Keeps memory from being swapped out, without bound',
    risk: 'medium',
    grants: {
      capabilities: ['IPC_LOCK'],
      syscalls: ['mlock', 'mlock2', 'mlockall', 'munlock', 'munlockall'],
    },
    tests: { allows: ['CAP_IPC_LOCK', 'mlockall()'], denies: ['CAP_SYS_RESOURCE'] },
  },
  {
    name: 'security.fs-read-only',
    title: 'The root file system is read-only; volumes are as they are mounted',
    risk: 'low',
    grants: {},
    excludes: { rootfsWrites: true },
    tests: { denies: ['writing the root file system'] },
  },
  {
    name: 'security.no-new-privileges',
    title: 'Set-user-id programs and file capabilities have no effect',
    risk: 'low',
    grants: {},
    excludes: { privilegeGain: true },
    tests: { allows: ['CAP_SETUID'], denies: ['privileges by exec'] },
  },
  {
    name: 'security.non-root',
    title: 'No process starts as user 0 of the host',
    risk: 'low',
    grants: {},
    excludes: { root: true },
    tests: { denies: ['user 0'] },
  },
  {
    name: 'security.user-namespace',
    title: 'Has its own user namespace: its root is an unprivileged user on the host',
    risk: 'low',
    grants: {},
    excludes: { sharedNamespaces: ['user'] },
    tests: { denies: ['host user'] },
  },
  {
    name: 'security.ptrace',
    title: 'Traces and reads any process of its own PID namespace',
    risk: 'high',
    grants: { capabilities: ['SYS_PTRACE'], syscalls: INSPECTION },
    tests: {
      allows: ['CAP_SYS_PTRACE', 'ptrace(PTRACE_ATTACH)', 'pidfd_getfd()'],
      denies: ['perf_event_open()', 'host pid'],
    },
  },
  {
    name: 'debug',
    title:
      'Debuggers and profilers: traces its processes, counts their events, runs them without address randomisation',
    risk: 'high',
    grants: {
      capabilities: ['PERFMON', 'SYS_PTRACE'],
      syscalls: [
        ...INSPECTION,
        'perf_event_open',
        { call: 'personality', when: [{ argument: 0, equals: 'ADDR_NO_RANDOMIZE' }] },
      ],
    },
    tests: {
      allows: [
        'CAP_SYS_PTRACE',
        'ptrace(PTRACE_ATTACH)',
        'personality(ADDR_NO_RANDOMIZE)',
        'perf_event_open()',
      ],
      denies: ['personality(READ_IMPLIES_EXEC)', 'CAP_SYS_ADMIN', 'bpf(BPF_PROG_LOAD)'],
    },
  },
];
