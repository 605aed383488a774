import type { OciSeccomp, Settings } from '../../entitlements/index.ts';
import type { LinuxContainerResources, Mount } from '../cri/contract/contract.types.ts';
import { boundedCgroups } from './cgroup-view.ts';
import type { CgroupView } from './cgroup-view.ts';
import { containerMounts, rootfsPropagation } from './mounts.ts';
import { launchedArguments } from './launched-command.ts';
import { launcherMount } from './launcher.ts';
import { ociMapping } from './mapped-mounts.ts';
import type { JoinedUserNamespace, PodFiles } from './mounts.ts';
import type { HandlerFeatures } from './handler-features.ts';
import { boundedMounts, boundedResources, checkBounds } from './profile-bounds.ts';
import { withMountsBelow } from './readonly-below.ts';
import { toOciResources } from './resources.ts';
import type { OciDevice, OciSpec } from './spec.types.ts';

/** Labels of the kernel's security modules for the processes and mounts of a container. */
export interface SecurityLabels {
  /** An AppArmor profile, or several stacked profiles: `A//&B`. */
  readonly apparmor?: string;
  readonly selinux?: { readonly process: string; readonly mount: string };
}

/** The root file system, and the process that runs in it. */
export interface SpecProcess {
  readonly rootfs: string;
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly user: { readonly uid: number; readonly gid: number; readonly additionalGids: readonly number[] };
  readonly terminal: boolean;
}

/** All input of a specification. All decisions have been made before. */
export interface SpecInput extends SpecProcess {
  readonly settings: Settings;
  readonly labels: SecurityLabels;
  /** `crun` uses our precompiled filter; any other runtime compiles the OCI form. */
  readonly runtime: string;
  readonly mounts: readonly Mount[];
  readonly devices: readonly { readonly node: OciDevice; readonly access: string }[];
  readonly resources: LinuxContainerResources | undefined;
  readonly cgroupsPath: string;
  readonly podFiles: PodFiles;
  /** Paths of the pod's pinned namespaces. If one is absent, the host's namespace is used. */
  readonly namespaces: {
    readonly network?: string;
    readonly ipc?: string;
    readonly uts?: string;
    readonly pid?: string;
  };
  readonly hostPid: boolean;
  readonly cgroups: CgroupView;
  readonly features: HandlerFeatures;
  /** Undefined: the host's user namespace. */
  readonly userNamespace: JoinedUserNamespace | undefined;
  /** The lowest oom_score_adj that this daemon may set. Without CAP_SYS_RESOURCE this is its own. */
  readonly oomScoreFloor: number;
  readonly annotations: Readonly<Record<string, string>>;
  /** The file on the host that sets up `settings.landlock`. Absent if there are no such rules. */
  readonly launcher?: string;
}

const seccompBpfAnnotation = 'run.oci.seccomp_bpf_data';

/**
 * Returns the OCI configuration of one container. Pure. Source: runtime-spec 1.0.2, config.md and
 * config-linux.md.
 * @throws PortcullisError RUNTIME_OUTSIDE_PROFILE, RUNTIME_PROFILE_NOT_ENFORCED; RUNTIME_BAD_MOUNT and other
 * errors of mounts
 */
export function generateSpec(input: SpecInput): OciSpec {
  const { settings } = input;
  const capabilities = prefixed(settings.capabilities);
  const readyMade = input.runtime === 'crun' ? settings.seccomp : undefined;
  const { bounds } = settings;
  checkBounds(settings, {
    uid: input.user.uid,
    userNamespace: input.userNamespace !== undefined,
    cgroupNamespace: input.cgroups.namespace,
    hostNetwork: input.namespaces.network === undefined,
    timeNamespace: input.features.timeNamespaces,
  });
  const pids = bounds?.resources.pids;
  const asked = toOciResources(boundedResources(input.resources, bounds?.resources));
  const resources = {
    ...boundedCgroups(asked, input.cgroups),
    ...(pids !== undefined && { pids: { limit: pids } }),
  };
  const mounts = boundedMounts(input.mounts, bounds);
  const propagation = rootfsPropagation(mounts);
  const { readonlyPaths, maskedPaths } = settings;
  const made = containerMounts({
    asked: mounts,
    podFiles: input.podFiles,
    readonlyRootfs: settings.readonlyRootfs,
    writableSys: settings.writableSys,
    cgroups: input.cgroups,
    hostNetwork: input.namespaces.network === undefined,
    features: input.features,
    userNamespace: input.userNamespace,
  });
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: input.terminal,
      user: input.user,
      args: input.launcher === undefined ? input.args : launchedArguments(input.args, input.env),
      env: input.env,
      cwd: input.cwd,
      capabilities,
      rlimits: settings.rlimits.map((limit) => ({
        type: limit.type,
        soft: exact(limit.soft),
        hard: exact(limit.hard),
      })),
      noNewPrivileges: settings.noNewPrivileges,
      ...(input.labels.apparmor !== undefined && { apparmorProfile: input.labels.apparmor }),
      ...(input.labels.selinux !== undefined && { selinuxLabel: input.labels.selinux.process }),
      ...(input.resources?.oomScoreAdj !== undefined && {
        oomScoreAdj: Math.max(input.resources.oomScoreAdj, input.oomScoreFloor),
      }),
    },
    root: { path: input.rootfs, readonly: settings.readonlyRootfs },
    mounts: withLauncher(input.launcher, made),
    annotations: {
      ...input.annotations,
      ...(readyMade !== undefined && {
        [seccompBpfAnnotation]: Buffer.from(readyMade.bpf).toString('base64'),
      }),
    },
    linux: {
      namespaces: [
        { type: 'mount' },
        ...(input.namespaces.pid === undefined
          ? input.hostPid
            ? []
            : [{ type: 'pid' }]
          : joined('pid', input.namespaces.pid)),
        ...(input.cgroups.namespace ? [{ type: 'cgroup' }] : []),
        ...(bounds?.ownNamespaces.includes('time') === true ? [{ type: 'time' }] : []),
        ...joined('user', input.userNamespace?.path),
        ...joined('network', input.namespaces.network),
        ...joined('ipc', input.namespaces.ipc),
        ...joined('uts', input.namespaces.uts),
      ],
      ...mappingsFor(input),
      cgroupsPath: input.cgroupsPath,
      resources: { ...resources, devices: deviceRules(settings, input.devices) },
      devices: input.devices.map(({ node }) => node),
      // crun uses the annotation. The equivalent OCI form is included for people and tools that read the
      // specification.
      ...(settings.seccomp !== undefined && { seccomp: settings.seccomp.oci }),
      maskedPaths,
      // crun covers masked paths first, and makes a cover below a read-only path writable again.
      readonlyPaths: withMountsBelow(readonlyPaths, [
        ...made,
        ...maskedPaths.map((destination) => ({ destination })),
      ]),
      ...(propagation !== undefined && { rootfsPropagation: propagation }),
      ...(input.labels.selinux !== undefined && { mountLabel: input.labels.selinux.mount }),
    },
  };
}

function withLauncher(launcher: string | undefined, mounts: OciSpec['mounts']): OciSpec['mounts'] {
  return launcher === undefined ? mounts : [...mounts, launcherMount(launcher)];
}

/** Serializes a specification as JSON. Seccomp values may exceed 2^53 and are written as exact integers. */
export function serialiseSpec(spec: OciSpec): string {
  return withExactIntegers(spec);
}

/** Serializes a seccomp object alone, as {@link serialiseSpec} does. */
export function serialiseSeccomp(seccomp: OciSeccomp): string {
  return withExactIntegers(seccomp);
}

function withExactIntegers(value: object): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    typeof part === 'bigint' ? exactInteger(part) : part,
  );
}

function prefixed(sets: Settings['capabilities']): OciSpec['process']['capabilities'] {
  const add = (names: readonly string[]): string[] => names.map((name) => `CAP_${name}`);
  return {
    bounding: add(sets.bounding),
    effective: add(sets.effective),
    permitted: add(sets.permitted),
    inheritable: add(sets.inheritable),
    ambient: add(sets.ambient),
  };
}

/**
 * crun uses the mappings to set the owners of devices. runc reads them from the namespace that it joins, and
 * does not accept them here.
 */
function mappingsFor({
  runtime,
  userNamespace,
}: SpecInput): Pick<OciSpec['linux'], 'uidMappings' | 'gidMappings'> {
  if (runtime !== 'crun' || userNamespace === undefined) return {};
  return { uidMappings: [ociMapping(userNamespace.uids)], gidMappings: [ociMapping(userNamespace.gids)] };
}

function joined(type: string, path: string | undefined): { type: string; path: string }[] {
  return path === undefined ? [] : [{ type, path }];
}

function deviceRules(
  settings: Settings,
  devices: SpecInput['devices'],
): NonNullable<OciSpec['linux']['resources']['devices']> {
  const own = devices
    .filter(({ access }) => access !== '')
    .map(({ node: { type, major, minor }, access }) => ({ allow: true, type, major, minor, access }));
  return [...settings.devices, ...own];
}

/** The engine has JSON.rawJSON, but TypeScript's library does not declare it yet. */
/** Returns a number where it is exact, for readers that do not support bigint. */
function exact(value: bigint): number | bigint {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}

function exactInteger(value: bigint): unknown {
  return (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(value.toString());
}
