import type { ContainerConfig } from '../../cri/contract/contract.types.ts';
import { nothingBeyond } from '../../containers/adjusted.ts';
import type { Adjustment, BeyondCri } from '../../containers/adjusted.ts';
import { cleanContainerPath } from '../../oci/container-path.ts';
import { nothingAsked } from '../../oci/profile-bounds.ts';
import { addedDevice } from './device.ts';
import { describeChange } from './describe.ts';
import { addedHook } from './hook.ts';
import type { Merged, OwnedChange, OwnedRemoval } from './merge.ts';
import { addedMount, isRuntimesMount } from './mount.ts';
import { addedLimit } from './process-limit.ts';
import { badAdjustment, unsupported } from './refusal.ts';
import { isResource, withResources } from './resources.ts';
import { seccompObject } from './seccomp.ts';

/** A request with the changes of plugins. */
export interface AppliedRequest {
  readonly config: ContainerConfig;
  readonly beyond: BeyondCri;
  readonly adjustments: readonly Adjustment[];
}

/** Programs of the host that plugins may run as hooks, by path. */
export interface Allowed {
  readonly hooks: readonly string[];
}

/**
 * Returns the request of a container with the changes of plugins, as if the kubelet had sent it. Pure. The
 * result is not yet checked against ceilings.
 * @param config the request as the kubelet sent it
 * @throws PortcullisError NRI_UNSUPPORTED, NRI_BAD_ADJUSTMENT, NRI_NOT_ALLOWED
 */
export function applyChanges(config: ContainerConfig, merged: Merged, allowed: Allowed): AppliedRequest {
  const change = byField(merged.set);
  const removal = byField(merged.removed);
  for (const each of [...merged.set, ...merged.removed]) requireSupport(each);
  const resources = merged.set.filter(({ field }) => isResource(field));
  const oomScore = change('oom-score-adj')[0]?.value;
  const [args] = change('args');
  const env = environment(config, change('env'), removal('env'));
  const seccomp = change('seccomp-policy')[0];
  const next: ContainerConfig = {
    ...config,
    ...(args !== undefined && { command: commandOf(args), args: [] }),
    envs: env.envs,
    mounts: mounts(config.mounts, change('mount'), removal('mount')),
    devices: devices(config.devices, change('device'), removal('device')),
    CDIDevices: [...config.CDIDevices, ...change('cdi-device').map(({ key }) => ({ name: key }))],
    ...((resources.length > 0 || oomScore !== undefined) && {
      linux: {
        ...config.linux,
        resources: {
          ...withResources(config.linux?.resources ?? nothingAsked, resources),
          ...(oomScore !== undefined && { oomScoreAdj: Number(oomScore) }),
        },
      },
    }),
  };
  const beyond: BeyondCri = {
    ...nothingBeyond,
    removedEnv: env.removed,
    annotations: annotations(config.annotations, change('annotation'), removal('annotation')),
    rlimits: change('rlimit').map(addedLimit),
    devices: change('device').map(addedDevice),
    hooks: change('hook').map((one) => addedHook(one, allowed.hooks)),
    ...(seccomp !== undefined && { seccomp: seccompObject(seccomp, config) }),
  };
  return { config: next, beyond, adjustments: [...merged.removed, ...merged.set].map(describeChange) };
}

function byField<One extends { readonly field: string }>(
  all: readonly One[],
): (field: string) => readonly One[] {
  const groups = Map.groupBy(all, ({ field }) => field);
  return (field) => groups.get(field) ?? [];
}

const supported: ReadonlySet<string> = new Set([
  'annotation',
  'mount',
  'env',
  'args',
  'hook',
  'rlimit',
  'cdi-device',
  'device',
  'oom-score-adj',
  'seccomp-policy',
]);

/** Why a part of NRI is not supported, and what to do instead. */
const reasons: Readonly<Record<string, readonly [string, string]>> = {
  sysctl: [
    'the namespaces of a pod exist before its containers',
    'set it in the security context of the pod',
  ],
  namespace: ['the namespaces of a container follow from its pod', 'set them in the pod'],
  'cgroups-path': ['the cgroup of a container follows from its pod', 'set the parent of the pod'],
  'net-device': [
    'Portcullis does not move devices into the network of a pod',
    'attach it with a CNI configuration',
  ],
};

function requireSupport(culprit: OwnedChange | OwnedRemoval): void {
  const { field } = culprit;
  if (supported.has(field) || isResource(field)) return;
  const [why, fix] = reasons[field] ?? [
    'Portcullis does not support this field',
    'remove it from the configuration of the plugin',
  ];
  throw unsupported(culprit, why, fix);
}

function commandOf(change: OwnedChange): readonly string[] {
  const args = change.value as readonly string[];
  if (args.length === 0) throw badAdjustment(change, 'the command is empty', 'name a program');
  return args;
}

/** A removed variable is also removed from the variables of the image, unless it is set again. */
function environment(
  { envs }: Pick<ContainerConfig, 'envs'>,
  set: readonly OwnedChange[],
  removals: readonly OwnedRemoval[],
): { readonly envs: ContainerConfig['envs']; readonly removed: readonly string[] } {
  for (const change of set) requireVariableName(change);
  const added = new Set(set.map(({ key }) => key));
  const removed = new Set(removals.map(({ key }) => key));
  const kept = envs.filter(({ key }) => !added.has(key) && !removed.has(key));
  return {
    envs: [...kept, ...set.map(({ key, value }) => ({ key, value: Buffer.from(String(value)) }))],
    removed: [...removed].filter((key) => !added.has(key)),
  };
}

/** A name with `=` would set another variable, and records contain names but no values. */
function requireVariableName(change: OwnedChange): void {
  const [name = ''] = change.key.split('=');
  if (name !== '' && name === change.key) return;
  throw badAdjustment(
    { ...change, key: name },
    'the name of a variable is empty or contains "="',
    'write the name and the value into their own fields',
  );
}

function mounts(
  asked: ContainerConfig['mounts'],
  set: readonly OwnedChange[],
  removals: readonly OwnedRemoval[],
): ContainerConfig['mounts'] {
  const gone = new Map([...removals, ...set].map((each) => [cleanContainerPath(each.key), each]));
  for (const { containerPath, image } of asked) {
    const culprit = image === undefined ? undefined : gone.get(cleanContainerPath(containerPath));
    if (culprit !== undefined)
      throw unsupported(culprit, 'an image volume is mounted there', 'choose another path');
  }
  const [own] = removals.filter(({ key }) => isRuntimesMount(cleanContainerPath(key)));
  if (own !== undefined) throw unsupported(own, 'every container has this mount', 'do not remove it');
  return [
    ...asked.filter((mount) => !gone.has(cleanContainerPath(mount.containerPath))),
    ...set.map(addedMount),
  ];
}

/** Devices that every container has (runtime-spec config-linux.md, Default Devices). */
const ofRuntime = /^\/dev\/(null|zero|full|random|urandom|tty|console|ptmx)$/;

/**
 * Devices of plugins are given by their numbers, and are kept apart from the requested devices, which are
 * paths of the host.
 */
function devices(
  asked: ContainerConfig['devices'],
  set: readonly OwnedChange[],
  removals: readonly OwnedRemoval[],
): ContainerConfig['devices'] {
  const own = removals.find(({ key }) => ofRuntime.test(cleanContainerPath(key)));
  if (own !== undefined) throw unsupported(own, 'every container has this device', 'do not remove it');
  const gone = new Set([...removals, ...set].map(({ key }) => cleanContainerPath(key)));
  return asked.filter(({ containerPath }) => !gone.has(cleanContainerPath(containerPath)));
}

/** For other plugins. The annotations of the request itself, which may name CDI devices, stay as they are. */
function annotations(
  asked: Readonly<Record<string, string>>,
  set: readonly OwnedChange[],
  removals: readonly OwnedRemoval[],
): Readonly<Record<string, string>> {
  const gone = new Set(removals.map(({ key }) => key));
  const kept = Object.entries(asked).filter(([key]) => !gone.has(key));
  return Object.fromEntries([...kept, ...set.map(({ key, value }) => [key, String(value)] as const)]);
}
