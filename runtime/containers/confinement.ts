import { PortcullisError } from '../../base/errors/index.ts';
import { boundingCapabilities } from '../../base/kernel/index.ts';
import { askedFromSecurityContext, bound, boundPod, compile } from '../../entitlements/index.ts';
import type { Ceiling, Target, Profile, ProfileSet, Settings } from '../../entitlements/index.ts';
import type { CeilingDemand } from '../../trust/index.ts';
import { NamespaceMode, ProfileType } from '../cri/contract/contract.types.ts';
import type { ContainerConfig } from '../cri/contract/contract.types.ts';
import type { SandboxRecord } from '../pods/record.ts';
import { boundHostAccess } from './host-access.ts';
import type { HostAccess } from './host-access.ts';
import { checkContainerUserNamespace } from '../pods/user-namespace-options.ts';
import { seccompRequest } from './seccomp-request.ts';

export interface Confinement {
  /**
   * What the kernel will be told: asked ∩ requested ∩ every ceiling of the rules that admitted the image.
   * @throws PortcullisError ENTITLEMENTS_CEILING_EXCEEDED and others of that room; RUNTIME_UNKNOWN_PROFILE, RUNTIME_UNSUPPORTED
   */
  confine(input: {
    readonly config: ContainerConfig;
    readonly sandbox: SandboxRecord;
    readonly ceilings: readonly CeilingDemand[];
    readonly runtime: string;
    /** What it asks of the host, looked up. */
    readonly access: HostAccess;
    /** The PID namespace that it joins is the host's, whatever it is asked through. */
    readonly sharesHostPids: boolean;
  }): Promise<Settings>;
}

const profileAnnotation = 'portcullis.dev/profile';

/** Compiled settings are kept by profile and target, since most containers of a node share a few. */
export function createConfinement(parts: {
  readonly profiles: () => ProfileSet;
  readonly target: (runtime: string) => Target;
}): Confinement {
  const own = boundingCapabilities();
  return {
    confine: async ({ config, sandbox, ceilings, runtime, access, sharesHostPids }) => {
      const security = config.linux?.securityContext;
      const options = security?.namespaceOptions;
      const pod = sandbox.config.linux?.securityContext?.namespaceOptions;
      refuseUnsupported(config);
      checkContainerUserNamespace(config.metadata?.name ?? '', pod, options);
      const profiles = parts.profiles();
      const profile = namedProfile(profiles, config, sandbox);
      const seccomp = await seccompRequest(security);
      const { asked, explicit } = askedFromSecurityContext({
        privileged: security?.privileged ?? false,
        addCapabilities: security?.capabilities?.addCapabilities ?? [],
        dropCapabilities: security?.capabilities?.dropCapabilities ?? [],
        addAmbient: security?.capabilities?.addAmbientCapabilities ?? [],
        noNewPrivs: security?.noNewPrivs ?? false,
        ...(seccomp !== undefined && { seccomp }),
        // Over the wire an empty list and none are one: the profile's own paths stand.
        ...(security !== undefined && security.maskedPaths.length > 0 && { maskedPaths: security.maskedPaths }),
        ...(security !== undefined && security.readonlyPaths.length > 0 && { readonlyPaths: security.readonlyPaths }),
        readonlyRootfs: security?.readonlyRootfs ?? false,
        hostNetwork: pod?.network === NamespaceMode.NODE,
        hostPid: sharesHostPids,
        hostIpc: pod?.ipc === NamespaceMode.NODE,
        boundingCapabilities: own,
        ...(profile !== undefined && { profile }),
      });
      const bounds = ceilings.map((demand) => ceilingOf(profiles, demand));
      if (bounds.length === 0) throw unbounded(config);
      boundHostAccess(access, bounds);
      const { effective } = bound({ asked, explicit, ceilings: bounds });
      // A sandbox has no image and so no ceiling: what the pod itself asked is bounded by its first container, and by each.
      boundPod(
        {
          privileged: sandbox.config.linux?.securityContext?.privileged ?? false,
          hostNetwork: pod?.network === NamespaceMode.NODE,
          hostPid: pod?.pid === NamespaceMode.NODE,
          hostIpc: pod?.ipc === NamespaceMode.NODE,
          sysctls: Object.keys(sandbox.config.linux?.sysctls ?? {}).map((name) => name.replaceAll('/', '.')),
        },
        bounds,
      );
      return compile(effective, parts.target(runtime));
    },
  };
}

function namedProfile(profiles: ProfileSet, config: ContainerConfig, sandbox: SandboxRecord): Profile | undefined {
  const { annotations } = sandbox.config;
  const container = config.metadata?.name ?? '';
  const key = Object.hasOwn(annotations, `${profileAnnotation}.${container}`) ? `${profileAnnotation}.${container}` : profileAnnotation;
  const name = Object.hasOwn(annotations, key) ? annotations[key] : undefined;
  if (name === undefined) return undefined;
  const profile = profiles.resolve(name);
  if (profile === undefined) throw unknownProfile(name, `the pod's annotation ${key} names it`, profiles);
  return profile;
}

function ceilingOf(profiles: ProfileSet, demand: CeilingDemand): Ceiling {
  const profile = profiles.resolve(demand.ceiling);
  if (profile === undefined) throw unknownProfile(demand.ceiling, `the policy rule ${demand.rule} names it as ceiling`, profiles);
  return { name: demand.ceiling, profile };
}

function unknownProfile(name: string, why: string, profiles: ProfileSet): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_UNKNOWN_PROFILE',
    kind: 'denied',
    attempted: 'find entitlement profile',
    on: name,
    why: `${why}, and there is no such profile`,
    fix: `define it in a document of kind EntitlementProfile among the policy files, or use one of: ${profiles.names().join(', ')}`,
  });
}

/** Every rule that admits sets a ceiling; a verdict without one is a fault, and a fault must not mean "no bound". */
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

/** What this version can not enforce is refused by name, never passed over. */
function refuseUnsupported(config: ContainerConfig): void {
  const security = config.linux?.securityContext;
  const options = security?.namespaceOptions;
  const asked: [boolean, string][] = [
    [isAppArmor(security?.apparmor?.profileType, security?.apparmorProfile ?? ''), 'an AppArmor profile'],
    [
      [
        security?.selinuxOptions?.type,
        security?.selinuxOptions?.level,
        security?.selinuxOptions?.user,
        security?.selinuxOptions?.role,
      ].some((part) => (part ?? '') !== ''),
      'an SELinux label',
    ],
  ];
  const what = asked.filter(([is]) => is).map(([, name]) => name);
  if (what.length === 0) return;
  throw new PortcullisError({
    code: 'RUNTIME_UNSUPPORTED',
    kind: 'unimplemented',
    attempted: 'create container with',
    on: what.join(', '),
    why: 'this version can not enforce it',
    fix: 'take it out of the container configuration',
  });
}

function isAppArmor(type: ProfileType | undefined, deprecated: string): boolean {
  if (type !== undefined) return type !== ProfileType.Unconfined;
  return deprecated !== '' && deprecated !== 'unconfined';
}
