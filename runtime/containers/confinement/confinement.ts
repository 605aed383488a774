import { join } from 'node:path';
import { PortcullisError } from '../../../base/errors/index.ts';
import { boundingCapabilities } from '../../../base/kernel/index.ts';
import {
  askedFromSecurityContext,
  boundBy,
  boundPod,
  createProver,
  publisherCeiling,
} from '../../../entitlements/index.ts';
import type {
  Ceiling,
  Profile,
  ProfileSet,
  Prover,
  SecurityContextRequest,
  Settings,
  Target,
} from '../../../entitlements/index.ts';
import { guestFeatures, unenforcedInGuest } from './guest-kernel.ts';
import type { GuestKernel } from '../../oci/runtime-handler.ts';
import type { CeilingDemand, RequestedEntitlements } from '../../../trust/index.ts';
import { NamespaceMode } from '../../cri/contract/contract.types.ts';
import type { ContainerConfig } from '../../cri/contract/contract.types.ts';
import type { HostPaths } from '../../host-paths/host-paths.ts';
import type { SandboxRecord } from '../../pods/record.ts';
import { askedPaths } from './asked-paths.ts';
import { boundHostAccess, isForPrivileged } from './host-access.ts';
import type { HostAccess } from './host-access.ts';
import { hostPortsOf } from '../../pods/port-mappings.ts';
import { dottedSysctl } from '../../pods/validate.ts';
import { checkContainerUserNamespace } from '../../pods/user-namespace-options.ts';
import type { SecurityLabels } from '../../oci/spec.ts';
import type { AppArmor } from './apparmor.ts';
import { appArmorRequest } from './apparmor-request.ts';
import { notLabelled, seLinuxRequest } from './selinux-request.ts';
import type { SeLinux } from './selinux.ts';
import { namedByAnnotation } from './profile-name.ts';
import { seccompRequest } from './seccomp-request.ts';

export interface Confinement {
  /** Prepares in the background for the first container of this process. Later calls do nothing. */
  warm(): void;
  /**
   * Returns the settings for the kernel: asked ∩ requested ∩ every ceiling of the rules that admitted the
   * image. The filter is proved.
   * @throws PortcullisError ENTITLEMENTS_CEILING_EXCEEDED, ENTITLEMENTS_BAD_PROFILE (in the statement that
   * the publisher signed) and other errors of `entitlements`; RUNTIME_UNKNOWN_PROFILE, RUNTIME_BAD_SECCOMP,
   * RUNTIME_BAD_APPARMOR, RUNTIME_APPARMOR_NOT_LOADED, RUNTIME_BAD_SELINUX, RUNTIME_SELINUX_UNAVAILABLE,
   * RUNTIME_SANDBOX_NOT_PRIVILEGED
   */
  confine(input: {
    readonly config: ContainerConfig;
    readonly sandbox: Pick<SandboxRecord, 'id' | 'config' | 'nodeSysctls'>;
    readonly ceilings: readonly CeilingDemand[];
    /** The entitlements that the image needs, as signed by the publisher; undefined: no limit. */
    readonly requested: readonly RequestedEntitlements[] | undefined;
    readonly runtime: string;
    /** The kernel that the handler gives its containers; undefined: that of the node. */
    readonly guestKernel?: GuestKernel;
    /** The resources of the host that the container requests, looked up. */
    readonly access: HostAccess;
    /** Where CDI devices mount something, beside the mounts of the request. */
    readonly deviceMounts?: readonly string[] | undefined;
    /** Whether the container joins the host's PID namespace, by any option. */
    readonly sharesHostPids: boolean;
    /** An OCI seccomp object that a plugin of the node set, in place of the requested profile. */
    readonly seccomp?: object | undefined;
    /** Whether the container asks for writable cgroups, or its handler offers them. */
    readonly writableCgroups?: 'asked' | 'offered' | undefined;
  }): Promise<Confined>;
}

/**
 * The settings for the kernel, and the labels of processes and mounts. Every profile that they name is
 * loaded.
 */
export interface Confined {
  readonly settings: Settings;
  readonly labels: SecurityLabels;
  /** Whether every ceiling allows privileged containers. */
  readonly privilegedCeiling: boolean;
  /**
   * Labels files and folders of the host so that SELinux lets the container use them. @throws PortcullisError
   * RUNTIME_SELINUX_RELABEL
   */
  relabel(paths: readonly string[]): Promise<void>;
}

/**
 * Returns the prover of a daemon with this root folder. Its proofs are cached there, and the next start
 * reuses them.
 */
export function proverIn(root: string): Prover {
  return createProver({ cacheFolder: join(root, 'entitlements') });
}

/** @param parts.prover compiles, proves and caches, since most containers of a node share a few profiles */
export function createConfinement(parts: {
  readonly profiles: () => ProfileSet;
  readonly target: (runtime: string) => Target;
  readonly prover: Pick<Prover, 'meet' | 'settings' | 'warm'>;
  readonly apparmor: Pick<AppArmor, 'label'>;
  readonly selinux: Pick<SeLinux, 'labels' | 'relabel'>;
  readonly paths: Pick<HostPaths, 'text'>;
}): Confinement {
  const own = boundingCapabilities();
  let isWarm = false;
  return {
    warm: () => {
      if (!isWarm) parts.prover.warm?.();
      isWarm = true;
    },
    confine: async (input) => {
      const {
        config,
        sandbox,
        ceilings,
        requested = [],
        runtime,
        guestKernel,
        access,
        sharesHostPids,
      } = input;
      const security = config.linux?.securityContext;
      const pod = sandbox.config.linux?.securityContext?.namespaceOptions;
      checkContainerUserNamespace(config.metadata?.name ?? '', pod, security?.namespaceOptions);
      const profiles = parts.profiles();
      const profile = namedProfile(profiles, config, sandbox);
      const seccomp =
        input.seccomp === undefined
          ? await seccompRequest(security, parts.paths)
          : { type: 'Localhost' as const, json: input.seccomp };
      const apparmorAsked = appArmorRequest(security);
      const privileged = security?.privileged ?? false;
      const podSecurity = sandbox.config.linux?.securityContext;
      if (privileged && podSecurity?.privileged !== true) throw notPrivileged(config);
      const selinuxAsked = seLinuxRequest(security?.selinuxOptions, podSecurity?.selinuxOptions);
      // Without SELinux in the kernel, the label is not applied and the container is degraded; no ceiling
      // requires a label.
      const selinux = parts.selinux.labels({ asked: selinuxAsked, privileged, sandboxId: sandbox.id });
      const { asked, explicit } = askedFromSecurityContext({
        ...requestOf(config, sandbox, sharesHostPids),
        ...(input.writableCgroups !== undefined && { writableCgroups: input.writableCgroups }),
        boundingCapabilities: own,
        ...(seccomp !== undefined && { seccomp }),
        ...(apparmorAsked !== undefined && { apparmor: apparmorAsked.type }),
        ...(selinuxAsked !== undefined && { selinux: selinuxAsked }),
        ...(profile !== undefined && { profile }),
      });
      const bounds = ceilings.map((demand) => ceilingOf(profiles, demand));
      if (bounds.length === 0) throw unbounded(config);
      const publisher = publisherCeiling(requested);
      const allBounds = publisher === undefined ? bounds : [...bounds, publisher];
      boundHostAccess(access, allBounds);
      const { effective } = await boundBy(parts.prover, {
        asked,
        explicit,
        ceilings: bounds,
        ...(publisher !== undefined && { requested: publisher.profile }),
      });
      // A sandbox has no image and therefore no ceiling. The request of the pod itself is checked with its
      // first container, and with each later one.
      boundPod(
        {
          privileged: sandbox.config.linux?.securityContext?.privileged ?? false,
          hostNetwork: pod?.network === NamespaceMode.NODE,
          hostPid: pod?.pid === NamespaceMode.NODE,
          hostIpc: pod?.ipc === NamespaceMode.NODE,
          sysctls: Object.keys(sandbox.config.linux?.sysctls ?? {})
            .map(dottedSysctl)
            .filter((name) => sandbox.nodeSysctls?.includes(name) !== true),
          hostPorts: pod?.network === NamespaceMode.NODE ? [] : hostPortsOf(sandbox.config),
        },
        allBounds,
      );
      const allowDegraded = ceilings.every(({ onDegraded }) => onDegraded === 'allow');
      const target = parts.target(runtime);
      const proved = await parts.prover.settings(effective, {
        ...target,
        ...(guestKernel !== undefined && { kernel: guestFeatures(target.kernel) }),
        ...(allowDegraded && { allowDegraded: true }),
      });
      const unreached =
        guestKernel === undefined
          ? []
          : unenforcedInGuest(
              guestKernel,
              {
                filtered: proved.seccomp !== undefined,
                apparmor: apparmorAsked?.type === 'Localhost' ? apparmorAsked.name : undefined,
                paths: [...new Set([...proved.maskedPaths, ...proved.readonlyPaths])],
                mounts: [
                  ...config.mounts.map(({ containerPath }) => containerPath),
                  ...(input.deviceMounts ?? []),
                ],
                limits: Object.keys(proved.bounds?.resources ?? {}),
              },
              allowDegraded,
            );
      const unlabelled =
        selinuxAsked !== undefined && selinux === undefined ? [notLabelled(selinuxAsked)] : [];
      const settings = { ...proved, degraded: [...proved.degraded, ...unlabelled, ...unreached] };
      const apparmor =
        guestKernel === undefined ? await parts.apparmor.label(apparmorAsked, settings.apparmor) : undefined;
      const relabel = (paths: readonly string[]): Promise<void> =>
        selinux === undefined ? Promise.resolve() : parts.selinux.relabel(paths, selinux.mount);
      const privilegedCeiling = allBounds.every(isForPrivileged);
      return {
        settings,
        relabel,
        privilegedCeiling,
        labels: { ...(apparmor !== undefined && { apparmor }), ...(selinux !== undefined && { selinux }) },
      };
    },
  };
}

/** Returns what the security context of a container requests, without its profiles and labels. */
function requestOf(
  config: ContainerConfig,
  sandbox: Pick<SandboxRecord, 'config'>,
  sharesHostPids: boolean,
): Omit<SecurityContextRequest, 'boundingCapabilities'> {
  const security = config.linux?.securityContext;
  const pod = sandbox.config.linux?.securityContext?.namespaceOptions;
  return {
    privileged: security?.privileged ?? false,
    addCapabilities: security?.capabilities?.addCapabilities ?? [],
    dropCapabilities: security?.capabilities?.dropCapabilities ?? [],
    addAmbient: security?.capabilities?.addAmbientCapabilities ?? [],
    noNewPrivs: security?.noNewPrivs ?? false,
    // In the protocol, an empty list is the same as an absent list: the paths of the profile apply.
    ...(security !== undefined &&
      security.maskedPaths.length > 0 && {
        maskedPaths: askedPaths('masked_paths', security.maskedPaths),
      }),
    ...(security !== undefined &&
      security.readonlyPaths.length > 0 && {
        readonlyPaths: askedPaths('readonly_paths', security.readonlyPaths),
      }),
    // A kubelet sends its default paths unless procMount is Unmasked, which it accepts only from pods
    // with a user namespace.
    unmaskedUnsaid:
      pod?.usernsOptions?.mode === NamespaceMode.POD &&
      security?.maskedPaths.length === 0 &&
      security.readonlyPaths.length === 0,
    readonlyRootfs: security?.readonlyRootfs ?? false,
    hostNetwork: pod?.network === NamespaceMode.NODE,
    hostPid: sharesHostPids,
    hostIpc: pod?.ipc === NamespaceMode.NODE,
  };
}

function namedProfile(
  profiles: ProfileSet,
  config: ContainerConfig,
  sandbox: Pick<SandboxRecord, 'config'>,
): Profile | undefined {
  const named = namedByAnnotation(sandbox.config.annotations, config.metadata?.name ?? '');
  if (named === undefined) return undefined;
  const { name, key } = named;
  const profile = profiles.resolve(name);
  if (profile === undefined) throw unknownProfile(name, `the pod's annotation ${key} names it`, profiles);
  return profile;
}

function ceilingOf(profiles: ProfileSet, demand: CeilingDemand): Ceiling {
  const profile = profiles.resolve(demand.ceiling);
  if (profile === undefined)
    throw unknownProfile(demand.ceiling, `the policy rule ${demand.rule} names it as ceiling`, profiles);
  return { name: demand.ceiling, profile };
}

function unknownProfile(name: string, why: string, profiles: ProfileSet): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_UNKNOWN_PROFILE',
    kind: 'denied',
    attempted: 'find entitlement profile',
    on: name,
    why: `${why}, and this profile does not exist`,
    fix: `define it in a document of kind EntitlementProfile among the policy files, or use one of: ${profiles.names().join(', ')}`,
  });
}

/**
 * Every rule that admits sets a ceiling. A verdict without a ceiling is a defect, and must not mean "no
 * limit".
 */
function unbounded(config: ContainerConfig): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_NO_CEILING',
    kind: 'denied',
    attempted: 'confine container',
    on: config.metadata?.name ?? '',
    why: 'the verdict on its image names no ceiling',
    fix: 'report this with the log of the daemon',
  });
}

/**
 * "If a privileged container is to be executed within it, this MUST be true" (cri-api
 * LinuxSandboxSecurityContext.privileged).
 */
function notPrivileged(config: ContainerConfig): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_SANDBOX_NOT_PRIVILEGED',
    kind: 'invalid',
    attempted: 'create privileged container',
    on: config.metadata?.name ?? '',
    why: 'its pod was not created with the permission for privileged containers',
    fix: 'also set linux.security_context.privileged of the pod',
  });
}
