import { createHash } from 'node:crypto';
import { networkRank } from '../compare/sets.ts';
import type { Profile } from '../profile/model.ts';
import { isUnder } from '../profile/paths.ts';
import { appArmorFileRules } from './file-rules.ts';
import { appArmorMountRules } from './mount-rules.ts';

/** A profile for the kernel's AppArmor: what to load, and under which name processes carry it. */
export interface AppArmorProfile {
  readonly name: string;
  /** As apparmor.d(5) has it, without an `abi` rule: whoever loads it knows which one is there. */
  readonly text: string;
}

const PREFIX = 'portcullis-default';

/**
 * What of a profile AppArmor can hold and others can not, or hold a second time. Few facts on purpose, and none of them text of a pod: each
 * combination is a profile in the kernel for good, and a name for people. Rules on files come from documents of the node's administrator.
 */
interface Facts {
  /** With CAP_SYS_ADMIN a filter lets mounts through: so does this, or the grant would be none. */
  readonly mount: boolean;
  /** Lines that allow those of the profile, in place of all; empty: none. */
  readonly mounts: readonly string[] | undefined;
  /** /proc/sys and the kernel's other files in /proc may be written. */
  readonly proc: boolean;
  /** The kernel's secrets and keys to the machine, such as /proc/kcore, may be read. */
  readonly kernel: boolean;
  readonly sys: boolean;
  /** Sockets other than local ones. */
  readonly network: boolean;
  /** Only the rules on files and mounts: the profile demands no other. */
  readonly filesOnly: boolean;
  /** Lines in place of `file,`. */
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
 * The AppArmor profile of a container that is confined by `profile`. Its rules follow docker's and containerd's `docker-default`
 * (github.com/moby/profiles, apparmor/template.go, Apache-2.0), and grant what the profile grants: mounts with SYS_ADMIN, a writable
 * /proc/sys or /sys where these are, no address family but the local one without a network. Capabilities are the bounding set's matter.
 * @returns undefined when the profile demands none
 * @throws ENTITLEMENTS_TOO_COMPLEX
 */
export function appArmorProfile(profile: Profile): AppArmorProfile | undefined {
  if (profile.apparmor === 'unconfined' && profile.files === undefined && profile.mounts === undefined) return undefined;
  const facts = factsOf(profile);
  const { filesOnly, files, mounts } = facts;
  const marks = [
    ...(facts.mount ? ['mount'] : []),
    ...(facts.proc ? ['proc'] : []),
    ...(facts.kernel ? ['kernel'] : []),
    ...(facts.sys ? ['sys'] : []),
    ...(facts.network ? [] : ['local']),
    ...(filesOnly ? ['open'] : []),
    // Equal names are equal texts.
    ...(files === undefined ? [] : [`files-${fingerprint(files)}`]),
    ...(mounts === undefined ? [] : [`mounts-${fingerprint(mounts)}`]),
  ];
  const name = [PREFIX, ...marks].join('.');
  return { name, text: textOf(name, facts) };
}

function fingerprint(lines: readonly string[]): string {
  return createHash('sha256').update(lines.join('\n')).digest('hex').slice(0, 16);
}

function textOf(name: string, { mount, mounts, proc, kernel, sys, network, filesOnly, files }: Facts): string {
  const rules = [
    ...(network
      ? ['network,', ...(filesOnly ? [] : ['# The kernel’s own cryptography: CVE-2026-31431.', 'deny network alg,'])]
      : ['network unix,', 'network netlink,']),
    'capability,',
    ...(files ?? ['file,']),
    ...(mount ? (mounts ?? ['mount,', 'umount,', 'pivot_root,']) : ['deny mount,', 'deny umount,', 'deny pivot_root,']),
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
      : ['# AppArmor’s own files, by which a process of root would load another profile.', 'deny /sys/kernel/security/** rwklx,']),
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

/** All of /sys but its cgroups, which the mount's own read-only bit holds. */
const guardedSys: readonly string[] = [
  'deny /sys/[^f]*/** wklx,',
  'deny /sys/f[^s]*/** wklx,',
  'deny /sys/fs/[^c]*/** wklx,',
  'deny /sys/fs/c[^g]*/** wklx,',
  'deny /sys/fs/cg[^r]*/** wklx,',
];
