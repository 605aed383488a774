import { sortedCapabilities } from '../capabilities/names.ts';
import { either } from '../compare/sets.ts';
import { defaultProfile, topProfile } from '../profile/builtin.ts';
import type { Profile } from '../profile/model.ts';
import { pathRestrictions } from '../profile/paths.ts';
import { argumentTest } from '../seccomp/argument-test.ts';
import { clause, subtract } from '../seccomp/clause.ts';
import type { Clause } from '../seccomp/clause.ts';
import { always, decision } from '../seccomp/decision.ts';
import type { Decision } from '../seccomp/decision.ts';
import { defaultPolicy, policyOfCapability } from '../seccomp/default-policy.ts';
import { EPERM } from '../seccomp/outcome.ts';
import { COMPAT_ARCHITECTURES, filteredPolicy, joinPolicies, meetPolicies } from '../seccomp/policy.ts';
import type { SyscallPolicy } from '../seccomp/policy.ts';
import { argumentWidth } from '../seccomp/syscalls.ts';
import type { Capability } from '../types.ts';
import type { Condition, Entitlement, ExcludedCall } from './entitlement.ts';

/** Two entitlements of which one grants what the other excludes. */
export interface Conflict {
  readonly first: string;
  readonly second: string;
  /** What they disagree on. */
  readonly on: string;
}

/** A profile's own changes, which count after its entitlements. */
export interface Changes {
  readonly addCapabilities: readonly Capability[];
  readonly dropCapabilities: readonly Capability[] | 'ALL';
  readonly addSyscalls: readonly string[];
  readonly dropSyscalls: readonly string[];
}

const NO_CHANGES: Changes = { addCapabilities: [], dropCapabilities: [], addSyscalls: [], dropSyscalls: [] };

/**
 * The profile of a set of entitlements: the default profile without what any excludes, with what any grants. Unions on both sides,
 * so order and repetition do not matter; that no grant meets an exclusion is {@link conflictsOf}'s business. The filter follows the
 * capabilities that are left, as the default one does.
 */
export function composeEntitlements(entitlements: readonly Entitlement[], changes: Changes = NO_CHANGES): Profile {
  const base = defaultProfile();
  const grants = entitlements.map((entitlement) => entitlement.grants);
  const excludes = entitlements.map((entitlement) => entitlement.excludes);
  const gone = new Set(excludes.flatMap((part) => part.capabilities ?? []));
  const composed = [...base.capabilities.filter((name) => !gone.has(name)), ...grants.flatMap((part) => part.capabilities ?? [])];
  const { dropCapabilities: dropped } = changes;
  const kept = dropped === 'ALL' ? [] : composed.filter((name) => !dropped.includes(name));
  const capabilities = sortedCapabilities([...kept, ...changes.addCapabilities]);
  const left = excludes.flatMap((part) => part.syscalls ?? []).map(withoutCall);
  const granted = grantedPolicy(grants.flatMap((part) => part.syscalls ?? []));
  const hostDevices = grants.some((part) => part.hostDevices === true);
  const masked = grants.some((part) => part.unmasked === true) ? [] : base.paths.masked;
  const readonly = grants.some((part) => part.writablePaths === true) ? [] : base.paths.readonly;
  return {
    ...base,
    capabilities,
    syscalls: changedPolicy(joinPolicies(left.reduce(meetPolicies, defaultPolicy(capabilities)), granted), changes),
    noNewPrivileges: excludes.some((part) => part.privilegeGain === true),
    paths: pathRestrictions([...masked, ...excludes.flatMap((part) => part.maskedPaths ?? [])], readonly),
    devices: hostDevices ? topProfile().devices : base.devices,
    hostDevices,
    hostPaths: grants.some((part) => part.hostPaths === true),
    hostNamespaces: grants.reduce((names, part) => either(names, part.hostNamespaces ?? []), base.hostNamespaces),
    network: entitlements.find((entitlement) => entitlement.network !== undefined)?.network ?? base.network,
    readonlyRootfs: excludes.some((part) => part.rootfsWrites === true),
  };
}

function changedPolicy(composed: SyscallPolicy, changes: Changes): SyscallPolicy {
  const withCapabilities = changes.addCapabilities.map(policyOfCapability).reduce(joinPolicies, composed);
  const dropped = changes.dropSyscalls.map((call) => withoutCall({ call })).reduce(meetPolicies, withCapabilities);
  return joinPolicies(dropped, grantedPolicy(changes.addSyscalls));
}

/** A policy that allows these calls whole and nothing else. */
function grantedPolicy(names: readonly string[]): SyscallPolicy {
  return filteredPolicy(
    EPERM,
    names.map((name) => [name, always('allow')] as const),
  );
}

/** A policy that allows everything but the excluded call. */
function withoutCall(excluded: ExcludedCall): SyscallPolicy {
  return filteredPolicy('allow', [[excluded.call, remaining(excluded)]], COMPAT_ARCHITECTURES);
}

function remaining({ call, when, unless }: ExcludedCall): Decision {
  const allowed: Clause[] = unless === undefined ? subtract([[]], [clauseOf(call, when ?? [])]) : [clauseOf(call, unless)];
  return decision(
    EPERM,
    allowed.map((pass) => ({ outcome: 'allow', when: pass })),
  );
}

function clauseOf(call: string, conditions: readonly Condition[]): Clause {
  return clause(
    conditions.flatMap(
      ({ argument, equals }) => argumentTest(argument, argumentWidth(call, argument), { low: equals, high: equals }) ?? [],
    ),
  );
}

/** Every pair that can not stand in one profile. */
export function conflictsOf(entitlements: readonly Entitlement[]): Conflict[] {
  return entitlements.flatMap((first, at) =>
    entitlements.slice(at + 1).flatMap((second) => {
      if (first.name === second.name) return [];
      const on = disagreement(first, second) ?? disagreement(second, first);
      return on === undefined ? [] : [{ first: first.name, second: second.name, on }];
    }),
  );
}

/** What `one` excludes and `other` grants. */
function disagreement(one: Entitlement, other: Entitlement): string | undefined {
  const { excludes } = one;
  const { grants } = other;
  if (one.network !== undefined && other.network !== undefined && one.network !== other.network) {
    return `the network class: ${[one.network, other.network].sort().join(' or ')}`;
  }
  const capability = excludes.capabilities?.find((name) => grants.capabilities?.includes(name));
  if (capability !== undefined) return `the capability ${capability}`;
  const call = excludes.syscalls?.find((excluded) => grants.syscalls?.includes(excluded.call));
  if (call !== undefined) return `the system call ${call.call}`;
  const namespace = excludes.hostNamespaces?.find((name) => grants.hostNamespaces?.includes(name));
  if (namespace !== undefined) return `the host's ${namespace} namespace`;
  if (excludes.hostDevices === true && grants.hostDevices === true) return "the host's devices";
  if ((excludes.maskedPaths?.length ?? 0) > 0 && grants.unmasked === true) return `masking ${excludes.maskedPaths?.join(', ')}`;
  return undefined;
}
