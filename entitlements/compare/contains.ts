import { decide } from '../seccomp/decision.ts';
import { decisionFor, policyExcess } from '../seccomp/policy.ts';
import type { SyscallPolicy } from '../seccomp/policy.ts';
import { deviceExcess, formatDevice } from '../profile/devices.ts';
import type { Profile, ResourceName } from '../profile/model.ts';
import type { FileAccess } from '../types.ts';
import { pathExcess } from '../profile/paths.ts';
import { constantName } from '../seccomp/constants.ts';
import { fileExcess } from './files.ts';
import { mountExcess } from './mounts.ts';
import { networkExcess } from './network-rules.ts';
import { lacking, limitExcess, networkRank, resourceExcess } from '../profile/sets.ts';

/** Something that the inner profile grants and the outer does not. */
export interface Witness {
  readonly dimension: keyof Profile;
  /** The capability, system call, path, peer, device, namespace or limit. */
  readonly subject: string;
  /** For a system call: arguments for which the two differ. */
  readonly args?: readonly bigint[];
  /** The grant in a few words: `socket(AF_ALG)`, `write to /etc/passwd`, `tcp to 10.1.2.3:5432`. */
  readonly what: string;
  /** The whole sentence: `socket(AF_ALG) is allowed by B, not by A`. */
  readonly sentence: string;
}

export type Containment = { readonly yes: true } | { readonly yes: false; readonly witness: Witness };

/** The names of the two profiles in sentences. */
export interface Names {
  readonly outer: string;
  readonly inner: string;
}

const NAMES: Names = { outer: 'the outer', inner: 'the inner' };

/**
 * Decides whether `outer` grants everything that `inner` grants. Exact. A no comes with one thing that the
 * inner profile grants and the outer does not.
 * @throws ENTITLEMENTS_TOO_COMPLEX
 */
export function contains(outer: Profile, inner: Profile, names: Names = NAMES): Containment {
  if (outer === inner) return { yes: true };
  for (const check of CHECKS) {
    const found = check(outer, inner);
    if (found !== undefined) return { yes: false, witness: witnessOf(found, names) };
  }
  return { yes: true };
}

/**
 * Returns all first witnesses of {@link contains}, at most one per dimension. @throws
 * ENTITLEMENTS_TOO_COMPLEX
 */
export function witnesses(outer: Profile, inner: Profile, names: Names = NAMES): Witness[] {
  return CHECKS.flatMap((check) => {
    const found = check(outer, inner);
    return found === undefined ? [] : [witnessOf(found, names)];
  });
}

function witnessOf({ answers, ...found }: Found, { outer, inner }: Names): Witness {
  const differ =
    answers === undefined || answers.inner === 'allow'
      ? `is allowed by ${inner}, not by ${outer}`
      : `is answered "${answers.inner}" by ${inner} and "${answers.outer}" by ${outer}`;
  return { ...found, sentence: `${found.what} ${differ}` };
}

interface Found extends Omit<Witness, 'sentence'> {
  /** The answers of both filters, for a system call. */
  readonly answers?: { readonly outer: string; readonly inner: string };
}

type Check = (outer: Profile, inner: Profile) => Found | undefined;

const CHECKS: readonly Check[] = [
  (outer, inner) =>
    granted(
      'capabilities',
      lacking(outer.capabilities, inner.capabilities),
      (name) => `the capability ${name}`,
    ),
  (outer, inner) =>
    granted('ambient', lacking(outer.ambient, inner.ambient), (name) => `the ambient capability ${name}`),
  (outer, inner) => syscallWitness(outer.syscalls, inner.syscalls),
  (outer, inner) =>
    flag('noNewPrivileges', !inner.noNewPrivileges && outer.noNewPrivileges, 'gaining privileges by exec'),
  (outer, inner) => {
    const excess = pathExcess(outer.paths, inner.paths);
    return granted('paths', excess?.path, (path) =>
      excess?.access === 'read' ? `reading ${path}` : `writing ${path}`,
    );
  },
  (outer, inner) => {
    const excess = deviceExcess(outer.devices, inner.devices);
    return granted(
      'devices',
      excess === undefined ? undefined : formatDevice(excess),
      (device) => `the device access ${device}`,
    );
  },
  (outer, inner) => flag('hostDevices', inner.hostDevices && !outer.hostDevices, "the host's device nodes"),
  (outer, inner) => flag('hostPaths', inner.hostPaths && !outer.hostPaths, "the host's paths as volumes"),
  (outer, inner) => flag('hostPorts', inner.hostPorts && !outer.hostPorts, 'ports of the host'),
  (outer, inner) =>
    granted(
      'hostNamespaces',
      lacking(outer.hostNamespaces, inner.hostNamespaces),
      (name) => `the host's ${name} namespace`,
    ),
  (outer, inner) =>
    granted(
      'network',
      networkRank(inner.network) > networkRank(outer.network) ? inner.network : undefined,
      (name) => `the network class ${name}`,
    ),
  (outer, inner) =>
    granted(
      'ownNamespaces',
      lacking(inner.ownNamespaces, outer.ownNamespaces),
      (name) => `sharing the host's ${name} namespace`,
    ),
  (outer, inner) =>
    flag('readonlyVolumes', !inner.readonlyVolumes && outer.readonlyVolumes, 'writing volumes'),
  (outer, inner) => flag('nonRoot', !inner.nonRoot && outer.nonRoot, 'running as root'),
  (outer, inner) => {
    const excess = networkExcess(outer.egress, inner.egress);
    return granted('egress', excess?.peer, (peer) => `${excess?.protocol ?? ''} to ${peer}`);
  },
  (outer, inner) => {
    const excess = networkExcess(outer.ingress, inner.ingress);
    return granted('ingress', excess?.address, (address) =>
      excess?.protocol === 'icmp'
        ? `icmp from ${address}`
        : `${excess?.protocol ?? ''} from ${address} to port ${excess?.port ?? 0}`,
    );
  },
  (outer, inner) => {
    const excess = fileExcess(outer.files, inner.files);
    return granted('files', excess?.path, (path) => `${FILE_WORDS[excess?.access ?? 'read']} ${path}`);
  },
  (outer, inner) => {
    const excess = mountExcess(outer.mounts, inner.mounts);
    const type = excess?.fstype === '*' ? 'anything' : excess?.fstype;
    return granted(
      'mounts',
      excess?.target,
      (target) => `mounting ${type} on ${target}${excess?.readonly === true ? ' read-only' : ''}`,
    );
  },
  (outer, inner) =>
    granted(
      'resources',
      resourceExcess(outer.resources, inner.resources),
      (name) => `${name} ${upTo(inner.resources, name)}`,
    ),
  (outer, inner) =>
    granted('limits', limitExcess(outer.limits, inner.limits), (name) => {
      const limit = inner.limits[name];
      return limit === undefined
        ? `RLIMIT_${name} without bound`
        : `RLIMIT_${name} of ${limit.soft} (soft) and ${limit.hard} (hard)`;
    }),
  (outer, inner) =>
    flag('sysctls', inner.sysctls === 'any' && outer.sysctls === 'safe', 'sysctls that are not safe'),
  (outer, inner) =>
    flag(
      'apparmor',
      inner.apparmor === 'unconfined' && outer.apparmor === 'default',
      'what the default AppArmor profile denies',
    ),
  (outer, inner) => flag('writableSys', inner.writableSys && !outer.writableSys, 'writing /sys'),
  (outer, inner) =>
    flag('writableCgroups', inner.writableCgroups && !outer.writableCgroups, 'creating cgroups of its own'),
  (outer, inner) =>
    flag('readonlyRootfs', !inner.readonlyRootfs && outer.readonlyRootfs, 'writing the root file system'),
];

const FILE_WORDS: Readonly<Record<FileAccess, string>> = {
  read: 'read of',
  write: 'write to',
  execute: 'execution of',
};

function upTo(bounds: Profile['resources'], name: ResourceName): string {
  const bound = bounds[name];
  return bound === undefined ? 'without bound' : `up to ${bound}`;
}

function granted<T extends string>(
  dimension: keyof Profile,
  subject: T | undefined,
  what: (subject: T) => string,
): Found | undefined {
  return subject === undefined ? undefined : { dimension, subject, what: what(subject) };
}

function flag(dimension: keyof Profile, exceeds: boolean, what: string): Found | undefined {
  return granted(dimension, exceeds ? dimension : undefined, () => what);
}

function syscallWitness(outer: SyscallPolicy, inner: SyscallPolicy): Found | undefined {
  const excess = policyExcess(outer, inner);
  if (excess === undefined || !outer.filtered) return undefined;
  if (!inner.filtered)
    return { dimension: 'syscalls', subject: 'all', what: 'every system call, without a filter,' };
  if (excess.compat !== undefined) {
    return {
      dimension: 'syscalls',
      subject: excess.compat,
      what: `every system call of ${excess.compat} programs`,
    };
  }
  const { name, args = [] } = excess;
  const [byInner, byOuter] = [inner, outer].map((policy) =>
    name === undefined ? policy.fallback : decide(decisionFor(policy, name), args),
  );
  return {
    dimension: 'syscalls',
    subject: name ?? 'any other',
    args,
    what:
      name === undefined ? 'a system call that neither names' : `${name}(${shown(name, args).join(', ')})`,
    answers: { inner: byInner ?? '', outer: byOuter ?? '' },
  };
}

/** Returns the arguments as text, without trailing zeros. */
function shown(name: string, args: readonly bigint[]): string[] {
  const last = args.findLastIndex((value) => value !== 0n);
  return args.slice(0, last + 1).map((value, index) => constantName(name, index, value) ?? number(value));
}

function number(value: bigint): string {
  return value < 1000n ? value.toString() : `0x${value.toString(16)}`;
}
