import { either } from '../profile/sets.ts';
import { sortedCapabilities } from '../capabilities/capability-names.ts';
import { deviceGrants, parseDeviceGrants } from '../profile/devices.ts';
import type {
  DeviceGrant,
  FileRule,
  HostNamespace,
  MountRule,
  OwnNamespace,
  Profile,
} from '../profile/model.ts';
import type { FileAccess, NetworkRule } from '../types.ts';
import { sortedRules } from '../profile/values.ts';
import { argumentTest } from '../seccomp/argument-test.ts';
import { callSet, unionCalls } from '../seccomp/call-set.ts';
import type { CallSet } from '../seccomp/call-set.ts';
import { clause, subtract } from '../seccomp/clause.ts';
import type { Clause } from '../seccomp/clause.ts';
import { constantValue } from '../seccomp/constants.ts';
import type { CompatArchitecture } from '../seccomp/policy.ts';
import { argumentWidth } from '../seccomp/syscalls.ts';
import type { Capability, NetworkClass } from '../types.ts';
import { meetLimits, meetResources } from '../profile/sets.ts';
import type { Condition, Effects, NamedCall } from './entitlement.ts';

type GrantFlag =
  | 'anySysctl'
  | 'hostDevices'
  | 'hostPaths'
  | 'hostPorts'
  | 'unmasked'
  | 'writableCgroups'
  | 'writablePaths';
type ExcludeFlag = 'hostDevices' | 'hostPaths' | 'privilegeGain' | 'rootfsWrites' | 'volumeWrites' | 'root';

const GRANT_FLAGS: readonly GrantFlag[] = [
  'anySysctl',
  'hostDevices',
  'hostPaths',
  'hostPorts',
  'unmasked',
  'writableCgroups',
  'writablePaths',
];
const EXCLUDE_FLAGS: readonly ExcludeFlag[] = [
  'hostDevices',
  'hostPaths',
  'privilegeGain',
  'root',
  'rootfsWrites',
  'volumeWrites',
];

/**
 * The rules of {@link import('./entitlement.ts').Rules}, in simplest form. An absent list does not restrict.
 */
export interface PartRules {
  readonly egress?: readonly NetworkRule[];
  readonly ingress?: readonly NetworkRule[];
  readonly mounts?: readonly MountRule[];
  readonly files: Readonly<Partial<Record<FileAccess, readonly string[]>>>;
  readonly deny: readonly FileRule[];
}

/**
 * One part of a profile, in the form in which parts are combined: an entitlement, or a whole profile that
 * another one extends.
 */
export interface Part {
  readonly name: string;
  /** Its network classes: more than one is a conflict. */
  readonly networks: readonly NetworkClass[];
  readonly grants: {
    readonly capabilities: readonly Capability[];
    readonly ambient: readonly Capability[];
    readonly calls: CallSet;
    readonly compat: readonly CompatArchitecture[];
    readonly hostNamespaces: readonly HostNamespace[];
    readonly devices: readonly DeviceGrant[];
    readonly flags: readonly GrantFlag[];
  };
  readonly excludes: {
    readonly capabilities: readonly Capability[];
    readonly calls: CallSet;
    readonly hostNamespaces: readonly HostNamespace[];
    readonly ownNamespaces: readonly OwnNamespace[];
    readonly devices: readonly DeviceGrant[];
    readonly maskedPaths: readonly string[];
    readonly readonlyPaths: readonly string[];
    readonly flags: readonly ExcludeFlag[];
    readonly limits: Profile['limits'];
    readonly resources: Profile['resources'];
  };
  readonly rules: PartRules;
}

const NO_CALLS: CallSet = new Map();

/** Returns an entitlement's data as a part. */
export function partOf(name: string, { network, grants, excludes = {}, rules = {} }: Effects): Part {
  const { read, write, execute, deny = [], egress, ingress, mounts } = rules;
  return {
    name,
    networks: network === undefined ? [] : [network],
    grants: {
      capabilities: sortedCapabilities(grants.capabilities ?? []),
      ambient: sortedCapabilities(grants.ambient ?? []),
      calls: callsOf(grants.syscalls ?? []),
      compat: [...(grants.architectures ?? [])].sort(),
      hostNamespaces: [...(grants.hostNamespaces ?? [])].sort(),
      devices: parseDeviceGrants(grants.devices ?? []),
      flags: GRANT_FLAGS.filter((flag) => grants[flag] === true),
    },
    excludes: {
      capabilities: sortedCapabilities(excludes.capabilities ?? []),
      calls: callsOf(excludes.syscalls ?? []),
      hostNamespaces: [...(excludes.hostNamespaces ?? [])].sort(),
      ownNamespaces: [...(excludes.sharedNamespaces ?? [])].sort(),
      devices: parseDeviceGrants(excludes.devices ?? []),
      maskedPaths: excludes.maskedPaths ?? [],
      readonlyPaths: excludes.readonlyPaths ?? [],
      flags: EXCLUDE_FLAGS.filter((flag) => excludes[flag] === true),
      limits: excludes.limits ?? {},
      resources: excludes.resources ?? {},
    },
    rules: {
      ...(egress !== undefined && { egress: sortedRules(egress) }),
      ...(ingress !== undefined && { ingress: sortedRules(ingress) }),
      ...(mounts !== undefined && { mounts: sortedMounts(mounts) }),
      files: {
        ...(execute !== undefined && { execute: distinct(execute) }),
        ...(read !== undefined && { read: distinct(read) }),
        ...(write !== undefined && { write: distinct(write) }),
      },
      deny,
    },
  };
}

export const NOTHING: Part = partOf('', { grants: {} });

/**
 * Returns the union of everything that the parts grant and exclude. Order, grouping and repetition do not
 * matter.
 */
export function unionParts(name: string, parts: readonly Part[]): Part {
  return parts.reduce((sum, part) => union(name, sum, part), { ...NOTHING, name });
}

function union(name: string, a: Part, b: Part): Part {
  return {
    name,
    networks: either(a.networks, b.networks),
    grants: {
      capabilities: either(a.grants.capabilities, b.grants.capabilities),
      ambient: either(a.grants.ambient, b.grants.ambient),
      calls: unionCalls(a.grants.calls, b.grants.calls),
      compat: either(a.grants.compat, b.grants.compat),
      hostNamespaces: either(a.grants.hostNamespaces, b.grants.hostNamespaces),
      devices: deviceGrants([...a.grants.devices, ...b.grants.devices]),
      flags: either(a.grants.flags, b.grants.flags),
    },
    excludes: {
      capabilities: either(a.excludes.capabilities, b.excludes.capabilities),
      calls: unionCalls(a.excludes.calls, b.excludes.calls),
      hostNamespaces: either(a.excludes.hostNamespaces, b.excludes.hostNamespaces),
      ownNamespaces: either(a.excludes.ownNamespaces, b.excludes.ownNamespaces),
      devices: deviceGrants([...a.excludes.devices, ...b.excludes.devices]),
      maskedPaths: either(a.excludes.maskedPaths, b.excludes.maskedPaths),
      readonlyPaths: either(a.excludes.readonlyPaths, b.excludes.readonlyPaths),
      flags: either(a.excludes.flags, b.excludes.flags),
      limits: meetLimits(a.excludes.limits, b.excludes.limits),
      resources: meetResources(a.excludes.resources, b.excludes.resources),
    },
    rules: unionRules(a.rules, b.rules),
  };
}

function unionRules(a: PartRules, b: PartRules): PartRules {
  const both = <T>(
    x: readonly T[] | undefined,
    y: readonly T[] | undefined,
    simple: (all: T[]) => T[],
  ): T[] | undefined =>
    x === undefined && y === undefined ? undefined : simple([...(x ?? []), ...(y ?? [])]);
  const [egress, ingress] = [both(a.egress, b.egress, sortedRules), both(a.ingress, b.ingress, sortedRules)];
  const mounts = both(a.mounts, b.mounts, sortedMounts);
  const [execute, read, write] = (['execute', 'read', 'write'] as const).map((access) =>
    both(a.files[access], b.files[access], distinct),
  );
  return {
    ...(egress !== undefined && { egress }),
    ...(ingress !== undefined && { ingress }),
    ...(mounts !== undefined && { mounts }),
    files: {
      ...(execute !== undefined && { execute }),
      ...(read !== undefined && { read }),
      ...(write !== undefined && { write }),
    },
    deny: fileRules([...a.deny, ...b.deny]),
  };
}

function distinct(patterns: readonly string[]): string[] {
  return [...new Set(patterns)].sort();
}

function sortedMounts(mounts: readonly MountRule[]): MountRule[] {
  const byKey = new Map(mounts.map((rule) => [`${rule.fstype} ${rule.target} ${rule.readonly}`, rule]));
  return [...byKey].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, rule]) => rule);
}

/** Returns rules on files, one per pattern, sorted. */
export function fileRules(rules: readonly FileRule[]): FileRule[] {
  const byPattern = new Map<string, Set<FileAccess>>();
  for (const { pattern, access } of rules) {
    const found = byPattern.get(pattern) ?? new Set();
    for (const one of access) found.add(one);
    byPattern.set(pattern, found);
  }
  return [...byPattern]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([pattern, access]) => ({ pattern, access: [...access].sort() }));
}

function callsOf(calls: readonly (string | NamedCall)[]): CallSet {
  if (calls.length === 0) return NO_CALLS;
  return callSet(
    calls.flatMap((named) => {
      const { call, when, unless } = typeof named === 'string' ? { call: named } : named;
      const clauses =
        unless === undefined ? [clauseOf(call, when ?? [])] : subtract([[]], [clauseOf(call, unless)]);
      return clauses.map((part) => [call, part] as const);
    }),
  );
}

function clauseOf(call: string, conditions: readonly Condition[]): Clause {
  return clause(
    conditions.map((condition) => {
      const { argument } = condition;
      const value = (written: bigint | string): bigint => {
        const found = typeof written === 'bigint' ? written : constantValue(call, argument, written);
        if (found === undefined)
          throw new Error(`${call} has no constant ${String(written)} at argument ${argument}`);
        return found;
      };
      const width = argumentWidth(call, argument);
      const test =
        'equals' in condition
          ? argumentTest(argument, width, { low: value(condition.equals), high: value(condition.equals) })
          : argumentTest(argument, width, { mask: value(condition.mask), value: value(condition.value) });
      if (test === undefined) throw new Error(`no value of argument ${argument} of ${call} can be meant`);
      return test;
    }),
  );
}
