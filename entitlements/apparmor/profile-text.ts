import { createHash } from 'node:crypto';
import { networkRank } from '../profile/sets.ts';
import type { Profile } from '../profile/model.ts';
import { isUnder } from '../profile/paths.ts';
import { appArmorFileRules } from './file-rules.ts';
import { appArmorMountRules } from './mount-rules.ts';

/** A profile for the kernel's AppArmor: the text to load, and the name under which processes run. */
export interface AppArmorProfile {
  readonly name: string;
  /**
   * The text in the syntax of apparmor.d(5), without an `abi` rule: the code that loads it knows the
   * available ABI.
   */
  readonly text: string;
}

const PREFIX = 'portcullis-default';

/**
 * The facts of a profile that AppArmor can enforce and other mechanisms cannot, or that it enforces a second
 * time. They are few on purpose, and contain no text of a pod: each combination becomes a permanent profile
 * in the kernel, and a name that people see. Rules on files come from documents of the node's administrator.
 */
interface Facts {
  /**
   * With CAP_SYS_ADMIN a filter allows mounts. AppArmor must allow them too, or the grant would have no
   * effect.
   */
  readonly mount: boolean;
  /** Lines that allow the mounts of the profile, instead of all mounts. Empty: none. */
  readonly mounts: readonly string[] | undefined;
  /** /proc/sys and other files of the kernel in /proc are writable. */
  readonly proc: boolean;
  /** The kernel's secrets, and files that give access to the machine, such as /proc/kcore, are readable. */
  readonly kernel: boolean;
  readonly sys: boolean;
  /** Sockets other than local ones. */
  readonly network: boolean;
  /** Only the rules on files and mounts: the profile demands no others. */
  readonly filesOnly: boolean;
  /** Lines that replace `file,`. */
  readonly files: readonly string[] | undefined;
}

function factsOf(profile: Profile): Facts {
  const filesOnly = profile.apparmor === 'unconfined';
  const mount = (filesOnly || profile.capabilities.includes('SYS_ADMIN')) && profile.mounts?.length !== 0;
  const unwritable = [...profile.paths.masked, ...profile.paths.readonly];
  return {
    mount,
    mounts: mount && profile.mounts !== undefined ? appArmorMountRules(profile.mounts) : undefined,
    proc: filesOnly || !unwritable.some((path) => isUnder('/proc/sys', path)),
    kernel: filesOnly || !profile.paths.masked.some((path) => isUnder('/proc/kcore', path)),
    sys: filesOnly || profile.writableSys,
    network: filesOnly || networkRank(profile.network) > networkRank('none'),
    filesOnly,
    files: profile.files && appArmorFileRules(profile.files),
  };
}

/**
 * Returns the AppArmor profile of a container that is confined by `profile`. Its rules follow docker's and
 * containerd's `docker-default` (github.com/moby/profiles, apparmor/template.go, Apache-2.0), and grant what
 * the profile grants: mounts with SYS_ADMIN, a writable /proc/sys or /sys if the profile has these, only the
 * local address family if it has no network. Capabilities are limited by the bounding set, not here.
 * @returns undefined if the profile demands none
 * @throws ENTITLEMENTS_TOO_COMPLEX
 */
export function appArmorProfile(profile: Profile): AppArmorProfile | undefined {
  if (profile.apparmor === 'unconfined' && profile.files === undefined && profile.mounts === undefined)
    return undefined;
  const facts = factsOf(profile);
  const { filesOnly, files, mounts } = facts;
  const marks = [
    ...(facts.mount ? ['mount'] : []),
    ...(facts.proc ? ['proc'] : []),
    ...(facts.kernel ? ['kernel'] : []),
    ...(facts.sys ? ['sys'] : []),
    ...(facts.network ? [] : ['local']),
    ...(filesOnly ? ['open'] : []),
    // Equal names mean equal texts.
    ...(files === undefined ? [] : [`files-${fingerprint(files)}`]),
    ...(mounts === undefined ? [] : [`mounts-${fingerprint(mounts)}`]),
  ];
  const name = [PREFIX, ...marks].join('.');
  return { name, text: textOf(name, facts) };
}

function fingerprint(lines: readonly string[]): string {
  return createHash('sha256').update(lines.join('\n')).digest('hex').slice(0, 16);
}

function textOf(
  name: string,
  { mount, mounts, proc, kernel, sys, network, filesOnly, files }: Facts,
): string {
  const rules = [
    ...(network
      ? [
          'network,',
          ...(filesOnly ? [] : ['# The kernel’s own cryptography: CVE-2026-31431.', 'deny network alg,']),
        ]
      : ['network unix,', 'network netlink,']),
    'capability,',
    ...(files ?? ['file,']),
    ...(mount
      ? (mounts ?? ['mount,', 'umount,', 'pivot_root,'])
      : ['deny mount,', 'deny umount,', 'deny pivot_root,']),
    ...(filesOnly ? ['signal,', 'ptrace,'] : betweenProcesses),
    ...(proc ? [] : guardedProc),
    ...(kernel
      ? []
      : [
          'deny /proc/sysrq-trigger rwklx,',
          'deny /proc/kcore rwklx,',
          'deny /sys/firmware/** rwklx,',
          'deny /sys/devices/virtual/powercap/** rwklx,',
        ]),
    ...(sys ? [] : guardedSys),
    ...(filesOnly
      ? []
      : [
          '# AppArmor’s own files, by which a process of root would load another profile.',
          'deny /sys/kernel/security/** rwklx,',
        ]),
  ];
  const body = rules.map((rule) => `  ${rule}\n`).join('');
  return `profile ${name} flags=(attach_disconnected, mediate_deleted) {\n${body}}\n`;
}

const betweenProcesses: readonly string[] = [
  '# From the host, and from the runtimes, which some distributions confine by profiles of these names.',
  ...['unconfined', 'crun', 'runc'].map((peer) => `signal (receive) peer=${peer},`),
  '# Among themselves. Only containers of one pod that share a PID namespace can name each other’s processes.',
  `signal (send, receive) peer=${PREFIX}*,`,
  `ptrace (trace, read, tracedby, readby) peer=${PREFIX}*,`,
];

const guardedProc: readonly string[] = [
  '# Files directly in /proc, and in its folders that are not a process’s.',
  'deny /proc/* w,',
  'deny /proc/{[^1-9/],[^1-9/][^0-9/],[^1-9s/][^0-9y/][^0-9s/],[^1-9/][^0-9/][^0-9/][^0-9/]*}/** w,',
  'deny /proc/sys/** w,',
];

/** All of /sys except its cgroups, which the mount's own read-only flag protects. */
const guardedSys: readonly string[] = [
  'deny /sys/[^f]*/** wklx,',
  'deny /sys/f[^s]*/** wklx,',
  'deny /sys/fs/[^c]*/** wklx,',
  'deny /sys/fs/c[^g]*/** wklx,',
  'deny /sys/fs/cg[^r]*/** wklx,',
];
