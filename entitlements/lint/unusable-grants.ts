import { capabilityName } from '../capabilities/capability-names.ts';
import { callsOfCapability } from '../seccomp/default-policy.ts';
import { decide } from '../seccomp/decision.ts';
import { constantValue } from '../seccomp/constants.ts';
import { decisionFor } from '../seccomp/policy.ts';
import { requiredCapabilities } from '../seccomp/required-capabilities.ts';
import type { Capability } from '../types.ts';
import type { Profile } from '../profile/model.ts';
import type { ResolvedProfile } from '../document/resolve.ts';
import { ACCESSES } from '../document/rule-items.ts';
import { limitKey } from '../document/schema.ts';
import type { Find } from './finding.ts';
import { patternPairs } from './patterns.ts';

/** Capabilities that are useful only for these calls (capabilities(7)). */
const ONLY_BY_CALLS: readonly Capability[] = [
  'BPF',
  'PERFMON',
  'SYS_BOOT',
  'SYS_CHROOT',
  'SYS_MODULE',
  'SYS_PACCT',
  'SYS_TTY_CONFIG',
];

const NETWORK_CAPABILITIES: readonly Capability[] = [
  'NET_ADMIN',
  'NET_BIND_SERVICE',
  'NET_BROADCAST',
  'NET_RAW',
];

/** Finds grants that have no effect, and limits that do not hold. */
export function deadGrants({ value, profile }: ResolvedProfile, find: Find): void {
  (value.capabilities?.add ?? []).forEach((text, at) => {
    const name = capabilityName(text);
    if (name !== undefined) deadCapability(name, ['capabilities', 'add', at], profile, find);
  });
  (value.entitlements ?? []).forEach((text, at) => {
    if (text === 'network.raw' || text === 'network.low-ports') {
      const name = text === 'network.raw' ? 'NET_RAW' : 'NET_BIND_SERVICE';
      if (!profile.capabilities.includes(name))
        find(
          'dead-grant',
          ['entitlements', at],
          `capabilities.drop removes ${name} again`,
          'remove one of the two',
        );
    }
  });
  deadCalls(value.syscalls?.add ?? [], profile, find);
  for (const direction of ['egress', 'ingress'] as const) {
    if (profile.network === 'none' && (value.network?.[direction]?.length ?? 0) > 0)
      find(
        'dead-grant',
        ['network', direction],
        'the class network.none has no peers',
        'remove the rules, or name another class',
        'key',
      );
  }
  if ((value.mounts?.length ?? 0) > 0 && !mayMount(profile))
    find(
      'dead-grant',
      ['mounts'],
      'mounting needs CAP_SYS_ADMIN or a user namespace, and the profile grants neither',
      'add kernel.mounts, or remove the rules',
      'key',
    );
  voidBounds(value, profile, find);
  const { within } = patternPairs();
  for (const access of ACCESSES) {
    (value.files?.[access] ?? []).forEach((pattern, at) => {
      const by = value.files?.deny?.[access]?.find((denied) => within(pattern, denied));
      if (by !== undefined)
        find(
          'dead-grant',
          ['files', access, at],
          `files.deny.${access} denies all of it: ${by}`,
          'remove one of the two',
        );
    });
  }
}

function deadCapability(
  name: Capability,
  path: readonly (string | number)[],
  profile: Profile,
  find: Find,
): void {
  const calls = callsOfCapability(name);
  if (ONLY_BY_CALLS.includes(name) && calls.every((call) => !allowed(profile, call))) {
    find(
      'dead-grant',
      path,
      `${name} serves only ${calls.join(', ')}, and the filter denies them`,
      'allow these calls, or remove the capability',
    );
  } else if (profile.network === 'none' && NETWORK_CAPABILITIES.includes(name)) {
    find(
      'dead-grant',
      path,
      `${name} serves the network, and the class is network.none`,
      'remove it, or name another class',
    );
  } else if (profile.nonRoot && profile.noNewPrivileges && !profile.ambient.includes(name)) {
    const message = `no process can hold ${name}: none starts as root, no exec gains privileges, and it is not under capabilities.ambient`;
    find('dead-grant', path, message, 'put it under capabilities.ambient as well');
  }
}

function deadCalls(items: readonly unknown[], profile: Profile, find: Find): void {
  items.forEach((item, at) => {
    const call = typeof item === 'string' ? item : (Object.keys(item as object)[0] ?? '');
    const needed = requiredCapabilities(call).find(({ when }) => when.length === 0)?.capability;
    if (needed === undefined || profile.capabilities.includes(needed) || namespaces(profile)) return;
    find(
      'dead-grant',
      ['syscalls', 'add', at],
      `${call} fails without CAP_${needed}`,
      'grant the capability, or remove the call',
    );
  });
}

function allowed({ syscalls }: Profile, call: string, args: readonly bigint[] = []): boolean {
  return !syscalls.filtered || decide(decisionFor(syscalls, call), args) === 'allow';
}

/** In a user namespace that it creates, a process has every capability. */
function namespaces(profile: Profile): boolean {
  const flag = constantValue('clone', 0, 'CLONE_NEWUSER') ?? 0n;
  return (
    allowed(profile, 'unshare', [flag]) || allowed(profile, 'clone', [flag]) || allowed(profile, 'clone3')
  );
}

function mayMount(profile: Profile): boolean {
  const call = allowed(profile, 'mount') || allowed(profile, 'fsmount');
  return call && (profile.capabilities.includes('SYS_ADMIN') || namespaces(profile));
}

function voidBounds(value: ResolvedProfile['value'], profile: Profile, find: Find): void {
  const bounds = Object.keys(value.resources ?? {});
  if (
    bounds.includes('memlock') &&
    profile.limits.MEMLOCK !== undefined &&
    profile.capabilities.includes('IPC_LOCK')
  )
    find(
      'void-bound',
      ['resources', 'memlock'],
      'CAP_IPC_LOCK locks memory beyond it',
      'remove one of the two',
      'key',
    );
  const limits = new Set(Object.keys(profile.limits).map(limitKey));
  for (const key of bounds.filter((name) => limits.has(name))) {
    if (profile.capabilities.includes('SYS_RESOURCE'))
      find(
        'void-bound',
        ['resources', key],
        'CAP_SYS_RESOURCE raises it',
        'remove the capability, or the limit',
        'key',
      );
  }
}
