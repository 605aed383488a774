import { decide } from '../seccomp/decision.ts';
import { decisionFor, policyExcess } from '../seccomp/policy.ts';
import type { SyscallPolicy } from '../seccomp/policy.ts';
import { deviceExcess, formatDevice } from '../profile/devices.ts';
import type { Profile } from '../profile/model.ts';
import { pathExcess } from '../profile/paths.ts';
import { ruleExcess } from './rules.ts';
import { lacking, limitExcess, networkRank, resourceExcess } from './sets.ts';

/** Something that the inner profile grants and the outer does not. */
export interface Witness {
  readonly dimension: keyof Profile;
  /** The capability, system call, path, device, namespace or limit. */
  readonly subject: string;
  /** For a system call: arguments with which the two differ. */
  readonly args?: readonly bigint[];
  /** The whole as a sentence, with the inner profile called "the inner" and the outer "the outer". */
  readonly sentence: string;
}

export type Containment = { readonly yes: true } | { readonly yes: false; readonly witness: Witness };

/**
 * Does `outer` grant everything that `inner` grants? Exact; a no comes with one thing that the inner grants and the outer does not.
 * @throws ENTITLEMENTS_TOO_COMPLEX
 */
export function contains(outer: Profile, inner: Profile): Containment {
  for (const check of CHECKS) {
    const witness = check(outer, inner);
    if (witness !== undefined) return { yes: false, witness };
  }
  return { yes: true };
}

type Check = (outer: Profile, inner: Profile) => Witness | undefined;

const CHECKS: readonly Check[] = [
  (outer, inner) => granted('capabilities', lacking(outer.capabilities, inner.capabilities), (name) => `the capability ${name}`),
  (outer, inner) => granted('ambient', lacking(outer.ambient, inner.ambient), (name) => `the ambient capability ${name}`),
  (outer, inner) => syscallWitness(outer.syscalls, inner.syscalls),
  (outer, inner) => flag('noNewPrivileges', !inner.noNewPrivileges && outer.noNewPrivileges, 'gaining privileges by exec'),
  (outer, inner) => {
    const excess = pathExcess(outer.paths, inner.paths);
    return granted('paths', excess?.path, (path) => (excess?.access === 'read' ? `reading ${path}` : `writing ${path}`));
  },
  (outer, inner) => {
    const excess = deviceExcess(outer.devices, inner.devices);
    return granted('devices', excess === undefined ? undefined : formatDevice(excess), (device) => `the device access ${device}`);
  },
  (outer, inner) => flag('hostDevices', inner.hostDevices && !outer.hostDevices, "the host's device nodes"),
  (outer, inner) => flag('hostPaths', inner.hostPaths && !outer.hostPaths, "the host's paths as volumes"),
  (outer, inner) =>
    granted('hostNamespaces', lacking(outer.hostNamespaces, inner.hostNamespaces), (name) => `the host's ${name} namespace`),
  (outer, inner) =>
    granted(
      'network',
      networkRank(inner.network) > networkRank(outer.network) ? inner.network : undefined,
      (name) => `the network class ${name}`,
    ),
  (outer, inner) =>
    granted('ownNamespaces', lacking(inner.ownNamespaces, outer.ownNamespaces), (name) => `sharing the host's ${name} namespace`),
  (outer, inner) => flag('readonlyVolumes', !inner.readonlyVolumes && outer.readonlyVolumes, 'writing volumes'),
  (outer, inner) => flag('nonRoot', !inner.nonRoot && outer.nonRoot, 'running as root'),
  (outer, inner) => {
    const dimension = ruleExcess(outer, inner);
    return dimension === undefined ? undefined : granted(dimension, 'any', () => `every access that the rules of ${dimension} leave out`);
  },
  (outer, inner) => granted('resources', resourceExcess(outer.resources, inner.resources), (name) => `more ${name}`),
  (outer, inner) => granted('limits', limitExcess(outer.limits, inner.limits), (name) => `a higher limit ${name}`),
  (outer, inner) => flag('sysctls', inner.sysctls === 'any' && outer.sysctls === 'safe', 'sysctls that are not safe'),
  (outer, inner) =>
    flag('apparmor', inner.apparmor === 'unconfined' && outer.apparmor === 'default', 'what the default AppArmor profile denies'),
  (outer, inner) => flag('writableSys', inner.writableSys && !outer.writableSys, 'writing /sys'),
  (outer, inner) => flag('readonlyRootfs', !inner.readonlyRootfs && outer.readonlyRootfs, 'writing the root file system'),
];

function granted(dimension: keyof Profile, subject: string | undefined, what: (subject: string) => string): Witness | undefined {
  if (subject === undefined) return undefined;
  return { dimension, subject, sentence: `${what(subject)} is granted by the inner, not by the outer` };
}

function flag(dimension: keyof Profile, exceeds: boolean, what: string): Witness | undefined {
  return granted(dimension, exceeds ? dimension : undefined, () => what);
}

function syscallWitness(outer: SyscallPolicy, inner: SyscallPolicy): Witness | undefined {
  const excess = policyExcess(outer, inner);
  if (excess === undefined || !outer.filtered) return undefined;
  if (!inner.filtered) {
    return { dimension: 'syscalls', subject: 'all', sentence: 'every system call is unfiltered in the inner, not in the outer' };
  }
  if (excess.compat !== undefined) {
    const sentence = `system calls of ${excess.compat} programs are granted by the inner, not by the outer`;
    return { dimension: 'syscalls', subject: excess.compat, sentence };
  }
  const name = excess.name ?? 'a system call that neither names';
  const args = excess.args ?? [];
  const answers = [inner, outer].map((policy) =>
    excess.name === undefined ? policy.fallback : decide(decisionFor(policy, excess.name), args),
  );
  const shown = excess.name === undefined ? name : `${name}(${trimmed(args).join(', ')})`;
  return {
    dimension: 'syscalls',
    subject: name,
    args,
    sentence: `${shown} is answered "${answers[0]}" by the inner and "${answers[1]}" by the outer`,
  };
}

/** The arguments as text without trailing zeros. */
function trimmed(args: readonly bigint[]): string[] {
  const last = args.findLastIndex((value) => value !== 0n);
  return args.slice(0, last + 1).map((value) => (value < 1000n ? value.toString() : `0x${value.toString(16)}`));
}
