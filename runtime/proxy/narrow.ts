import type { RuntimeBounds, Settings } from '../../entitlements/index.ts';
import { topProfile } from '../../entitlements/index.ts';
import { NamespaceMode, ProfileType } from '../cri/contract/contract.types.ts';
import type {
  ContainerConfig,
  LinuxContainerResources,
  PodSandboxConfig,
  UserNamespace,
} from '../cri/contract/contract.types.ts';
import { namedByAnnotation } from '../containers/confinement/profile-name.ts';
import { cleanContainerPath } from '../oci/container-path.ts';
import { boundedMounts, boundedResources, checkBounds, nothingAsked } from '../oci/profile-bounds.ts';
import { withMountsBelow } from '../oci/readonly-below.ts';
import type { FieldEdit } from './wire.ts';

/** How a request is changed so that the backend gives the container no more than its settings. */
export interface Narrowed {
  /** Changes of LinuxContainerSecurityContext. */
  readonly security: Readonly<Record<string, FieldEdit>>;
  /** Changes of LinuxContainerResources. */
  readonly resources: Readonly<Record<string, FieldEdit>>;
  /** All volumes are mounted read-only. */
  readonly readonlyVolumes: boolean;
  /** One sentence for each limit that no field of the CRI expresses. */
  readonly beyond: readonly string[];
}

export interface NarrowInput {
  readonly config: ContainerConfig;
  readonly sandbox: PodSandboxConfig;
  /** Settings that the container gets: asked ∩ requested ∩ every ceiling. */
  readonly settings: Settings;
  /** The device rules of the default profile. */
  readonly defaultDevices: Settings['devices'];
  /** Capabilities that a privileged container gets: all that this node gives. */
  readonly heldCapabilities: readonly string[];
  /** Where the container has mounts that the request does not name. Default: nowhere. */
  readonly addedMounts?: readonly string[];
  /** The file with the filter of the settings, for the backend. */
  readonly seccompFile: string | undefined;
}

/**
 * Returns the changes that narrow a request to its settings. Never widens: a capability that the backend
 * would not give is not added, unless the pod names a profile that has it. Pure.
 * @throws PortcullisError RUNTIME_OUTSIDE_PROFILE
 */
export function narrowed(input: NarrowInput): Narrowed {
  const {
    config,
    sandbox,
    settings,
    defaultDevices,
    heldCapabilities,
    addedMounts = [],
    seccompFile,
  } = input;
  const asked = config.linux?.securityContext;
  const { bounds } = settings;
  const pod = sandbox.linux?.securityContext?.namespaceOptions;
  checkBounds(
    { ...(bounds !== undefined && { bounds }) },
    {
      // With both, backends take the name, and which user it is only the image says.
      uid: asked?.runAsUsername === '' ? (asked.runAsUser?.value ?? 0) : 0,
      userNamespace: hasOtherRoot(pod?.usernsOptions),
      hostNetwork: pod?.network === NamespaceMode.NODE,
      // The CRI does not say whether the backend makes these namespaces.
      cgroupNamespace: false,
      timeNamespace: false,
    },
  );
  boundedMounts(config.mounts, bounds);
  const privileged = asked?.privileged === true;
  const security: Record<string, FieldEdit> = {};
  if (settings.noNewPrivileges && asked?.noNewPrivs !== true) security['noNewPrivs'] = { set: true };
  if (settings.readonlyRootfs && asked?.readonlyRootfs !== true) security['readonlyRootfs'] = { set: true };
  if (!privileged) {
    Object.assign(security, capabilityEdits(config, sandbox, settings));
    const paths = {
      maskedPaths: settings.maskedPaths,
      readonlyPaths: readonlyPathsOf(config, settings, addedMounts),
    };
    for (const key of ['maskedPaths', 'readonlyPaths'] as const) {
      const ours = new Set(paths[key]);
      const wanted = new Set([...(asked?.[key] ?? []).filter((path) => !ours.has(path)), ...ours]);
      if (wanted.size > new Set(asked?.[key]).size) security[key] = { set: [...wanted] };
    }
    if (seccompFile !== undefined) {
      security['seccomp'] = { set: { profileType: ProfileType.Localhost, localhostRef: seccompFile } };
      security['seccompProfilePath'] = { set: '' };
    }
  }
  // A request without a context is one with these fields for CRI-O, and a context without them is another.
  if (asked === undefined && Object.keys(security).length > 0) {
    security['namespaceOptions'] = { set: {} };
    security['seccomp'] ??= { set: { profileType: ProfileType.RuntimeDefault } };
  }
  return {
    security,
    resources: resourceEdits(config.linux?.resources, bounds?.resources),
    readonlyVolumes: bounds?.readonlyVolumes === true,
    beyond: [
      ...(privileged ? privilegedBeyond(settings, heldCapabilities) : []),
      ...settingsBeyond(settings, defaultDevices),
      ...(bounds?.resources.pids === undefined ? [] : ['resources.pids: the CRI has no limit on processes']),
    ],
  };
}

/** Where containerd and CRI-O mount something in each container, apart from /proc, /dev and /sys. */
const mountedByBackend: readonly string[] = [
  ...['/dev/mqueue', '/dev/pts', '/dev/shm', '/sys/fs/cgroup'],
  ...['/etc/hostname', '/etc/hosts', '/etc/resolv.conf', '/run/.containerenv', '/run/secrets'],
];

/**
 * Returns the read-only paths of the settings, with all mounts below them: a runtime makes only the mount at
 * a path read-only. Backends skip a path at which nothing exists.
 */
function readonlyPathsOf(
  { linux, mounts }: Pick<ContainerConfig, 'linux' | 'mounts'>,
  { maskedPaths, readonlyPaths }: Pick<Settings, 'maskedPaths' | 'readonlyPaths'>,
  addedMounts: readonly string[],
): readonly string[] {
  const asked = mounts.map(({ containerPath }) => cleanContainerPath(containerPath));
  const asReadonly = linux?.securityContext?.readonlyPaths ?? [];
  const destinations = [...mountedByBackend, ...asked, ...addedMounts, ...asReadonly, ...maskedPaths];
  return withMountsBelow(
    readonlyPaths,
    destinations.map((destination) => ({ destination })),
  );
}

/** Whether root of the pod is another user of the host: a pod may map its ids to themselves. */
function hasOtherRoot(options: UserNamespace | undefined): boolean {
  if (options?.mode !== NamespaceMode.POD) return false;
  return [options.uids, options.gids].every(
    (ranges) => ranges.length > 0 && ranges.every(({ hostId }) => hostId !== 0),
  );
}

/** Takes away what the settings lack. With a profile that the pod names, gives exactly what they have. */
function capabilityEdits(
  config: ContainerConfig,
  sandbox: PodSandboxConfig,
  { capabilities }: Settings,
): Record<string, FieldEdit> {
  const asked = config.linux?.securityContext?.capabilities;
  const named = namedByAnnotation(sandbox.annotations, config.metadata?.name ?? '') !== undefined;
  const dropsAll = asked?.dropCapabilities.some((name) => name.toUpperCase() === 'ALL') === true;
  if (dropsAll && !named) return {};
  const lacking = topProfile().capabilities.filter((name) => !capabilities.bounding.includes(name));
  // The message is created only if it is needed: runtimes treat an absent message differently.
  if (lacking.length === 0 && !named) return {};
  const dropped = [...new Set([...(asked?.dropCapabilities ?? []), ...lacking])];
  const fields = named
    ? { addCapabilities: { set: capabilities.bounding }, dropCapabilities: { set: ['ALL'] } }
    : { dropCapabilities: { set: dropped } };
  return { capabilities: { into: { message: 'Capability', fields } } };
}

/** Returns the changes of those limits that differ from the request. @throws RUNTIME_OUTSIDE_PROFILE */
export function resourceEdits(
  asked: LinuxContainerResources | undefined,
  limits: RuntimeBounds['resources'] | undefined,
): Record<string, FieldEdit> {
  const wanted = boundedResources(asked, limits);
  const before = asked ?? nothingAsked;
  const changed = (['memoryLimitInBytes', 'memorySwapLimitInBytes', 'cpuPeriod', 'cpuQuota'] as const).filter(
    (key) => wanted !== undefined && wanted[key] !== before[key],
  );
  return Object.fromEntries(changed.map((key) => [key, { set: wanted?.[key] }]));
}

/** A runtime gives a privileged container everything, whatever else the request says. */
function privilegedBeyond(
  { capabilities, seccomp, maskedPaths, readonlyPaths }: Settings,
  held: readonly string[],
): string[] {
  const lacking = held.filter((name) => !capabilities.bounding.includes(name));
  return [
    ...(lacking.length === 0
      ? []
      : [`a privileged container gets every capability, including ${lacking.slice(0, 8).join(', ')}`]),
    ...(seccomp === undefined ? [] : ['a privileged container has no seccomp filter']),
    ...(maskedPaths.length === 0 ? [] : ['a privileged container has no masked paths']),
    ...(readonlyPaths.length === 0 ? [] : ['a privileged container has no read-only paths']),
  ];
}

function settingsBeyond(settings: Settings, defaultDevices: Settings['devices']): string[] {
  const { networkClass, peers, rlimits, devices, landlock, hostDevices } = settings;
  const has = new Set(devices.map((rule) => JSON.stringify(rule)));
  const lacksDevices = !hostDevices && defaultDevices.some((rule) => !has.has(JSON.stringify(rule)));
  return [
    ...(networkClass === 'none' ? ["network.none: the backend's network plugins connect the pod"] : []),
    ...(peers === undefined ? [] : ["rules for peers: the backend's network plugins do not support them"]),
    ...(rlimits.length === 0
      ? []
      : [
          `limits of processes (${rlimits.map(({ type }) => type).join(', ')}): the CRI has no field for them`,
        ]),
    ...(landlock === undefined ? [] : ['rules for files: the backend has no launcher for Landlock']),
    ...(lacksDevices ? ['fewer devices than the default: the backend adds its own defaults'] : []),
  ];
}
