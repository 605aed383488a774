import { append } from '../../base/lists/index.ts';
import { capabilityName, expandCapabilities, sortedCapabilities } from '../capabilities/capability-names.ts';
import { common } from '../profile/sets.ts';
import { entitlementsError } from '../errors.ts';
import { defaultProfile, topProfile } from '../profile/builtin.ts';
import type { HostNamespace, PathRestrictions, Profile } from '../profile/model.ts';
import { meetPaths, pathRestrictions } from '../profile/paths.ts';
import { defaultPolicy, policyOfCapability } from '../seccomp/default-policy.ts';
import { policyFromOci } from '../seccomp/oci-import.ts';
import { joinPolicies, meetPolicies, UNFILTERED } from '../seccomp/policy.ts';
import type { SyscallPolicy } from '../seccomp/policy.ts';
import type { Capability, NetworkClass } from '../types.ts';
import { demandText, holds } from './demand.ts';
import type { Demand } from './demand.ts';

/** The content of a container's security context: CRI's LinuxContainerSecurityContext in plain values. */
export interface SecurityContextRequest {
  readonly privileged: boolean;
  /** Names with or without `CAP_`, or `ALL`. */
  readonly addCapabilities: readonly string[];
  readonly dropCapabilities: readonly string[];
  readonly addAmbient: readonly string[];
  readonly noNewPrivs: boolean;
  /**
   * Undefined if the context has no seccomp field. `json`: the parsed OCI seccomp object of a Localhost
   * profile.
   */
  readonly seccomp?: {
    readonly type: 'RuntimeDefault' | 'Unconfined' | 'Localhost';
    readonly json?: unknown;
  };
  /** Undefined if the context has no AppArmor field: then the default profile applies (Kubernetes). */
  readonly apparmor?: 'RuntimeDefault' | 'Unconfined' | 'Localhost';
  /** The requested SELinux names. A level only separates containers, and is not a demand. */
  readonly selinux?: { readonly user?: string; readonly role?: string; readonly type?: string };
  /** Undefined: the paths of the profile. An empty list asks for an unmasked /proc. */
  readonly maskedPaths?: readonly string[];
  readonly readonlyPaths?: readonly string[];
  /**
   * If there are no explicit paths and no named profile, nothing is masked, and a ceiling that masks paths
   * does so silently.
   */
  readonly unmaskedUnsaid?: boolean;
  readonly readonlyRootfs: boolean;
  /**
   * `asked`: the context asks for writable cgroups itself, which is a demand. `offered`: the node offers them
   * to containers of this type, and a ceiling may take them away. Undefined: as in the profile.
   */
  readonly writableCgroups?: 'asked' | 'offered';
  readonly hostNetwork: boolean;
  readonly hostPid: boolean;
  readonly hostIpc: boolean;
  /** The daemon's own bounding set: `ALL` and privileged mean these capabilities. */
  readonly boundingCapabilities: readonly string[];
  /** The profile that the pod names by annotation. Undefined if it names none. */
  readonly profile?: Profile;
}

export interface Asked {
  readonly asked: Profile;
  /**
   * Demands that the context names itself: a ceiling that lacks one of them refuses the request instead of
   * lowering it.
   */
  readonly explicit: readonly Demand[];
}

/**
 * Returns the profile that a security context asks for, based on the named profile or the default one.
 *
 * - add and drop change the profile's capabilities; "drop ALL, add X" gives X.
 * - The default filter follows the capabilities, as in docker and containerd. A named profile keeps its own
 *   filter, joined with the calls of added capabilities. `Unconfined` removes nothing from a named profile,
 *   and a Localhost filter is met with it.
 * - `Unconfined`, or no seccomp field, without a named profile means no filter, as in CRI, but it is not a
 *   demand: a stock kubelet sends it for every pod. Under any ceiling but `privileged`, the meet applies the
 *   ceiling's filter instead.
 * - Privileged: all the daemon's capabilities, no filter, nothing masked, all devices.
 *
 * @throws ENTITLEMENTS_UNKNOWN_CAPABILITY, ENTITLEMENTS_BAD_SECCOMP, ENTITLEMENTS_UNSUPPORTED.
 * ENTITLEMENTS_CEILING_EXCEEDED if the context asks for privileged mode, a namespace of the host or an
 * unmasked /proc and the profile that the pod names does not grant it
 */
export function askedFromSecurityContext(request: SecurityContextRequest): Asked {
  const own = request.boundingCapabilities.flatMap((name) => capabilityName(name) ?? []);
  const namespaces = hostNamespaces(request);
  const explicit: Demand[] = namespaces.map((name) => ({ kind: 'host-namespace', name }));
  for (const part of ['user', 'role', 'type'] as const) {
    const value = request.selinux?.[part];
    if (value !== undefined) explicit.push({ kind: 'selinux', part, value });
  }
  if (request.privileged) {
    explicit.push({ kind: 'privileged' });
    refuseContradiction(request.profile, explicit);
    return { asked: privileged(request, own, namespaces), explicit };
  }
  const base = request.profile ?? defaultProfile();
  const added = expandCapabilities(request.addCapabilities, own);
  const ambient = without(expandCapabilities(request.addAmbient, own), named(request.dropCapabilities));
  const capabilities = sortedCapabilities([
    ...changedCapabilities(base.capabilities, request, own),
    ...ambient,
  ]);
  const demanded = common([...added, ...ambient], capabilities);
  append(
    explicit,
    demanded.map((name): Demand => ({ kind: 'capability', name })),
  );
  append(
    explicit,
    ambient.map((name): Demand => ({ kind: 'ambient-capability', name })),
  );
  if (unmasks(request.maskedPaths) || unmasks(request.readonlyPaths))
    explicit.push({ kind: 'unmasked-proc' });
  // Unlike with seccomp, this is a demand: clients send it only if they mean it.
  if (request.apparmor === 'Unconfined') explicit.push({ kind: 'unconfined-apparmor' });
  if (request.writableCgroups === 'asked') explicit.push({ kind: 'writable-cgroups' });
  refuseContradiction(request.profile, explicit);
  return {
    asked: {
      ...base,
      capabilities,
      ambient: sortedCapabilities(ambient),
      syscalls: askedSyscalls(request, capabilities, demanded),
      noNewPrivileges: base.noNewPrivileges || request.noNewPrivs,
      paths: askedPaths(request, base),
      hostNamespaces: namespaces,
      network: askedNetwork(request, base, capabilities),
      readonlyRootfs: base.readonlyRootfs || request.readonlyRootfs,
      writableCgroups:
        base.writableCgroups || (request.profile === undefined && request.writableCgroups !== undefined),
      // A profile of the node replaces the default AppArmor profile. If a named profile or a ceiling demands
      // the default one, both apply.
      apparmor:
        request.apparmor === 'Unconfined' ||
        (request.apparmor === 'Localhost' && request.profile === undefined)
          ? 'unconfined'
          : base.apparmor,
    },
    explicit,
  };
}

/**
 * Applies changes in containerd's order (internal/cri/server/container_create.go): add ALL, drop ALL, add the
 * named capabilities, drop the named ones.
 */
function changedCapabilities(
  base: readonly Capability[],
  request: SecurityContextRequest,
  own: readonly Capability[],
): Capability[] {
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

function privileged(
  request: SecurityContextRequest,
  own: readonly Capability[],
  namespaces: readonly HostNamespace[],
): Profile {
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

function askedSyscalls(
  request: SecurityContextRequest,
  capabilities: readonly Capability[],
  added: readonly Capability[],
): SyscallPolicy {
  const own =
    request.profile === undefined
      ? undefined
      : added.map(policyOfCapability).reduce(joinPolicies, request.profile.syscalls);
  if (request.seccomp?.type === 'Localhost') {
    const local = policyFromOci(request.seccomp.json);
    return own === undefined ? local : meetPolicies(local, own);
  }
  if (own !== undefined) return own;
  return request.seccomp?.type === 'RuntimeDefault' ? defaultPolicy(capabilities) : UNFILTERED;
}

function askedPaths(request: SecurityContextRequest, base: Profile): PathRestrictions {
  const unsaid =
    request.unmaskedUnsaid === true && request.profile === undefined ? pathRestrictions([], []) : base.paths;
  const wanted = pathRestrictions(
    request.maskedPaths ?? unsaid.masked,
    request.readonlyPaths ?? unsaid.readonly,
  );
  return request.profile === undefined ? wanted : meetPaths(wanted, base.paths);
}

/** A pod with its own network never gets the class of the host's network. */
function askedNetwork(
  request: SecurityContextRequest,
  base: Profile,
  capabilities: readonly Capability[],
): NetworkClass {
  if (request.hostNetwork) return 'host';
  if (base.network !== 'host') return base.network;
  return capabilities.includes('NET_ADMIN') ? 'admin' : 'user';
}

/**
 * Refuses a pod that names a profile and also asks for more than the profile grants: this is a contradiction,
 * and the code does not guess which one is meant. Capabilities may be added to a profile.
 */
function refuseContradiction(profile: Profile | undefined, explicit: readonly Demand[]): void {
  const refused = explicit.filter(
    (demand) =>
      demand.kind !== 'capability' &&
      demand.kind !== 'ambient-capability' &&
      profile !== undefined &&
      !holds(profile, demand),
  );
  if (refused.length === 0) return;
  const names = refused.map(demandText).join(', ');
  throw entitlementsError('ENTITLEMENTS_CEILING_EXCEEDED', {
    kind: 'denied',
    attempted: 'create container',
    on: '',
    why: `the profile that the pod names lacks ${names}, which its security context asks for`,
    fix: 'remove the demand from the security context, or name a profile that grants it',
    details: {
      refused: refused.map((demand) => ({ demand: demandText(demand), ceiling: 'the named profile' })),
    },
  });
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
