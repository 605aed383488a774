import { capabilityName, expandCapabilities, sortedCapabilities } from '../capabilities/names.ts';
import { common, either } from '../compare/sets.ts';
import { defaultProfile, topProfile } from '../profile/builtin.ts';
import type { HostNamespace, Profile } from '../profile/model.ts';
import { pathRestrictions } from '../profile/paths.ts';
import { defaultPolicy, policyOfCapability } from '../seccomp/default-policy.ts';
import { policyFromOci } from '../seccomp/oci-import.ts';
import { joinPolicies, UNFILTERED } from '../seccomp/policy.ts';
import type { SyscallPolicy } from '../seccomp/policy.ts';
import type { Capability } from '../types.ts';
import type { Demand } from './demand.ts';

/** What a container's security context says: CRI's LinuxContainerSecurityContext in plain values. */
export interface SecurityContextRequest {
  readonly privileged: boolean;
  /** Names with or without `CAP_`, or `ALL`. */
  readonly addCapabilities: readonly string[];
  readonly dropCapabilities: readonly string[];
  readonly addAmbient: readonly string[];
  readonly noNewPrivs: boolean;
  /** Undefined when the context has no seccomp field. `json`: the parsed OCI seccomp object of a Localhost profile. */
  readonly seccomp?: { readonly type: 'RuntimeDefault' | 'Unconfined' | 'Localhost'; readonly json?: unknown };
  /** Undefined: the profile's own. An empty list asks for an unmasked /proc. */
  readonly maskedPaths?: readonly string[];
  readonly readonlyPaths?: readonly string[];
  readonly readonlyRootfs: boolean;
  readonly hostNetwork: boolean;
  readonly hostPid: boolean;
  readonly hostIpc: boolean;
  /** The daemon's own bounding set: `ALL` and privileged mean these. */
  readonly boundingCapabilities: readonly string[];
  /** The profile that the pod names by annotation; undefined when it names none. */
  readonly profile?: Profile;
}

export interface Asked {
  readonly asked: Profile;
  /** What the context names itself: a ceiling that lacks one of these refuses instead of lowering. */
  readonly explicit: readonly Demand[];
}

/**
 * The profile that a security context asks for, on top of the named profile or the default one.
 *
 * - add and drop work on the profile's capabilities; "drop ALL, add X" gives X.
 * - The default filter follows the capabilities, as docker's and containerd's does; a named profile keeps its own filter, joined by
 *   what added capabilities stand for. Of a named profile `Unconfined` takes nothing away.
 * - `Unconfined`, or no seccomp field, without a named profile is no filter as CRI has it, but not a demand: a stock kubelet says
 *   it of every pod. Under any ceiling but `privileged` the meet puts the ceiling's filter in its place.
 * - Privileged: all the daemon's capabilities, no filter, nothing masked, all devices.
 *
 * @throws ENTITLEMENTS_UNKNOWN_CAPABILITY, ENTITLEMENTS_BAD_SECCOMP, ENTITLEMENTS_UNSUPPORTED
 */
export function askedFromSecurityContext(request: SecurityContextRequest): Asked {
  const own = request.boundingCapabilities.flatMap((name) => capabilityName(name) ?? []);
  const namespaces = hostNamespaces(request);
  const explicit: Demand[] = namespaces.map((name) => ({ kind: 'host-namespace', name }));
  if (request.privileged) {
    explicit.push({ kind: 'privileged' });
    return { asked: privileged(request, own, namespaces), explicit };
  }
  const base = request.profile ?? defaultProfile();
  const added = expandCapabilities(request.addCapabilities, own);
  const ambient = without(expandCapabilities(request.addAmbient, own), named(request.dropCapabilities));
  const capabilities = sortedCapabilities([...changedCapabilities(base.capabilities, request, own), ...ambient]);
  const demanded = common([...added, ...ambient], capabilities);
  explicit.push(...demanded.map((name): Demand => ({ kind: 'capability', name })));
  explicit.push(...ambient.map((name): Demand => ({ kind: 'ambient-capability', name })));
  if (unmasks(request.maskedPaths) || unmasks(request.readonlyPaths)) explicit.push({ kind: 'unmasked-proc' });
  return {
    asked: {
      ...base,
      capabilities,
      ambient: either(common(base.ambient, capabilities), ambient),
      syscalls: askedSyscalls(request, capabilities, demanded),
      noNewPrivileges: base.noNewPrivileges || request.noNewPrivs,
      paths: pathRestrictions(request.maskedPaths ?? base.paths.masked, request.readonlyPaths ?? base.paths.readonly),
      hostNamespaces: either(base.hostNamespaces, namespaces),
      network: request.hostNetwork ? 'host' : base.network,
      readonlyRootfs: base.readonlyRootfs || request.readonlyRootfs,
    },
    explicit,
  };
}

/** containerd's order (internal/cri/server/container_create.go): add ALL, drop ALL, add the named, drop the named. */
function changedCapabilities(base: readonly Capability[], request: SecurityContextRequest, own: readonly Capability[]): Capability[] {
  const start = request.addCapabilities.some(isAll) ? own : base;
  const kept = request.dropCapabilities.some(isAll) ? [] : start;
  return without([...kept, ...named(request.addCapabilities)], named(request.dropCapabilities));
}

function isAll(name: string): boolean {
  return /^(CAP_)?ALL$/i.test(name);
}

function named(names: readonly string[]): Capability[] {
  return expandCapabilities(
    names.filter((name) => !isAll(name)),
    [],
  );
}

function without(names: readonly Capability[], dropped: readonly Capability[]): Capability[] {
  return names.filter((name) => !dropped.includes(name));
}

function privileged(request: SecurityContextRequest, own: readonly Capability[], namespaces: readonly HostNamespace[]): Profile {
  const ambient = expandCapabilities(request.addAmbient, own);
  return {
    ...topProfile(),
    capabilities: sortedCapabilities([...own, ...ambient]),
    ambient,
    noNewPrivileges: request.noNewPrivs,
    hostNamespaces: [...namespaces],
    network: request.hostNetwork ? 'host' : 'admin',
    readonlyRootfs: request.readonlyRootfs,
  };
}

function askedSyscalls(request: SecurityContextRequest, capabilities: readonly Capability[], added: readonly Capability[]): SyscallPolicy {
  if (request.seccomp?.type === 'Localhost') return policyFromOci(request.seccomp.json);
  if (request.profile !== undefined) return added.map(policyOfCapability).reduce(joinPolicies, request.profile.syscalls);
  return request.seccomp?.type === 'RuntimeDefault' ? defaultPolicy(capabilities) : UNFILTERED;
}

function hostNamespaces(request: SecurityContextRequest): HostNamespace[] {
  return [
    ...(request.hostIpc ? ['ipc' as const] : []),
    ...(request.hostNetwork ? ['network' as const] : []),
    ...(request.hostPid ? ['pid' as const] : []),
  ];
}

function unmasks(paths: readonly string[] | undefined): boolean {
  return paths !== undefined && paths.length === 0;
}
