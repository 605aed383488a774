import { PortcullisError } from '../../../base/errors/index.ts';
import { cleanContainerPath } from '../../oci/container-path.ts';
import { withMountsBelow } from '../../oci/readonly-below.ts';
import type { OciDevice, OciHook, OciMount, OciSpec } from '../../oci/spec.types.ts';
import { hasNoAnswer } from '../../host-paths/host-paths.ts';
import type { HostPaths } from '../../host-paths/host-paths.ts';
import type { AdjustedHook } from '../adjusted.ts';
import { deviceNode } from '../host-devices.ts';
import { writableByOthers } from './spec-file.ts';
import type { CdiDeviceNode, CdiMount, ContainerEdits } from './spec-schema.ts';

/** Edits whose devices and programs have been looked up on this host. */
export interface ReadyEdits {
  readonly env: readonly string[];
  readonly devices: readonly {
    readonly node: OciDevice;
    readonly access: string;
    /** Where the host has this device, without links. Absent: it need not have one that a spec describes. */
    readonly source?: string;
    readonly ownerGiven: { uid: boolean; gid: boolean };
  }[];
  readonly mounts: readonly OciMount[];
  readonly hooks: readonly AdjustedHook[];
  readonly additionalGids: readonly number[];
  readonly intelRdt?: Readonly<Record<string, unknown>>;
}

type EditPaths = Pick<HostPaths, 'facts' | 'ownFacts'>;

/**
 * Looks up devices and checks programs. A hook runs on the host as root, so only root may be able to change
 * it. `startContainer` hooks run inside the container, with the program that the image has at that path.
 * @throws PortcullisError RUNTIME_CDI_UNUSABLE when the host lacks a device or program that an edit names
 */
export async function readyEdits(all: readonly ContainerEdits[], paths: EditPaths): Promise<ReadyEdits> {
  const netDevices = all.flatMap((edits) => edits.netDevices ?? []);
  if (netDevices.length > 0) {
    const names = netDevices.map((device) => device.hostInterfaceName).join(', ');
    throw unusable(
      names,
      'no runtime handler moves network devices into a container (netDevices)',
      'attach the device by a CNI configuration',
    );
  }
  const intelRdt = all.findLast((edits) => edits.intelRdt !== undefined)?.intelRdt;
  return {
    env: all.flatMap((edits) => edits.env ?? []),
    devices: await Promise.all(
      all.flatMap((edits) => edits.deviceNodes ?? []).map((device) => readyDevice(device, paths)),
    ),
    mounts: await Promise.all(
      all.flatMap((edits) => edits.mounts ?? []).map((mount) => readyMount(mount, paths)),
    ),
    hooks: await Promise.all(all.flatMap((edits) => edits.hooks ?? []).map((hook) => readyHook(hook, paths))),
    additionalGids: [
      ...new Set(all.flatMap((edits) => edits.additionalGids ?? []).filter((gid) => gid !== 0)),
    ],
    ...(intelRdt !== undefined && { intelRdt }),
  };
}

async function readyDevice(asked: CdiDeviceNode, paths: EditPaths): Promise<ReadyEdits['devices'][number]> {
  const access = asked.permissions === 'none' ? '' : asked.permissions || 'rwm';
  const ownerGiven = { uid: asked.uid !== undefined, gid: asked.gid !== undefined };
  const found = await deviceNode(asked.hostPath ?? asked.path, asked.path, paths);
  const there = typeof found === 'object' ? found : undefined;
  const onHost = there?.node;
  // A spec with type and number describes the node completely, so the host need not have it.
  const described = asked.type !== undefined && ((asked.major ?? 0) !== 0 || asked.type === 'p');
  if (!described && onHost === undefined)
    throw unusable(
      asked.hostPath ?? asked.path,
      'the host has no such device',
      'check whether its driver is loaded',
    );
  if (asked.type !== undefined && !described && onHost?.type !== asked.type)
    throw unusable(
      asked.path,
      `it has the type ${onHost?.type ?? ''} on this host, and the type ${asked.type} in the spec`,
      'correct the spec',
    );
  const node: OciDevice = {
    path: asked.path,
    type: asked.type ?? onHost?.type ?? 'c',
    major: described ? (asked.major ?? 0) : (onHost?.major ?? 0),
    minor: described ? (asked.minor ?? 0) : (onHost?.minor ?? 0),
    fileMode: asked.fileMode ?? onHost?.fileMode ?? 0o666,
    uid: asked.uid ?? 0,
    gid: asked.gid ?? 0,
  };
  const isThere = there !== undefined && isSameDevice(node, there.node);
  return { node, access, ownerGiven, ...(isThere && { source: there.source }) };
}

function isSameDevice(a: OciDevice, b: OciDevice): boolean {
  const form = ({ type, major, minor }: OciDevice): string =>
    `${type === 'u' ? 'c' : type} ${major}:${minor}`;
  return form(a) === form(b);
}

/** Options of crun with which a link itself is mounted. */
const linkOptions: ReadonlySet<string> = new Set(['copy-symlink', 'src-nofollow']);

async function readyMount(asked: CdiMount, paths: EditPaths): Promise<OciMount> {
  const options = asked.options ?? [];
  const isBind = options.includes('bind') || options.includes('rbind');
  const type = isBind || (asked.type ?? '') === '' ? 'bind' : (asked.type ?? 'bind');
  const isFollowed =
    type === 'bind' && asked.hostPath.startsWith('/') && !options.some((option) => linkOptions.has(option));
  return {
    destination: asked.containerPath,
    // The table of mounts, and the checks of destinations, know only real paths.
    source: isFollowed ? await realPath(asked.hostPath, paths) : asked.hostPath,
    type,
    options: type === 'bind' && !isBind ? ['rbind', ...options] : options,
  };
}

/** Returns a path that cannot be followed as it is: the runtime reports it, or a hook creates it. */
async function realPath(path: string, paths: EditPaths): Promise<string> {
  try {
    return (await paths.facts(path)).path;
  } catch (thrown) {
    if (hasNoAnswer(thrown)) throw thrown;
    return path;
  }
}

async function readyHook(hook: AdjustedHook, paths: EditPaths): Promise<AdjustedHook> {
  if (hook.hookName === 'startContainer') return hook;
  const { path } = await paths.facts(hook.path).catch((thrown: unknown) => {
    if (hasNoAnswer(thrown)) throw thrown;
    throw unusable(
      hook.path,
      `the hook cannot be found (${(thrown as NodeJS.ErrnoException).code ?? ''})`,
      'install it, or correct the spec',
    );
  });
  const open = await writableByOthers(path, paths);
  if (open !== undefined)
    throw unusable(
      hook.path,
      `this hook would run on the host, and ${open}`,
      'let only root write to it and to the folders above it',
    );
  return { ...hook, path };
}

/**
 * Returns the spec with the edits applied. Pure. An edit replaces an existing entry of the same name or path:
 * a variable, a device or a mount.
 * Source: CDI SPEC.md "OCI Edits" and pkg/cdi container-edits.go.
 */
export function withEdits(spec: OciSpec, edits: ReadyEdits): OciSpec {
  const { user } = spec.process;
  const devices = edits.devices.map(({ node, ownerGiven }) => ({
    ...node,
    uid: ownerGiven.uid ? node.uid : user.uid,
    gid: ownerGiven.gid ? node.gid : user.gid,
  }));
  const paths = new Set(devices.map((device) => device.path));
  const targets = new Set(edits.mounts.map((mount) => mount.destination));
  const rules = edits.devices.flatMap(({ node, access }) =>
    access === '' || node.type === 'p'
      ? []
      : [{ allow: true, type: node.type === 'b' ? 'b' : 'c', major: node.major, minor: node.minor, access }],
  );
  const { linux } = spec;
  return {
    ...spec,
    process: {
      ...spec.process,
      env: withVariables(spec.process.env, edits.env),
      user: { ...user, additionalGids: [...new Set([...user.additionalGids, ...edits.additionalGids])] },
    },
    mounts: [...spec.mounts.filter((mount) => !targets.has(mount.destination)), ...byDepth(edits.mounts)],
    ...(edits.hooks.length > 0 && { hooks: hooksOf(edits.hooks) }),
    linux: {
      ...linux,
      devices: [...linux.devices.filter((device) => !paths.has(device.path)), ...devices],
      resources: { ...linux.resources, devices: [...(linux.resources.devices ?? []), ...rules] },
      ...(edits.intelRdt !== undefined && { intelRdt: edits.intelRdt }),
      // The profile decides what can be written below these paths, and not the spec.
      readonlyPaths: withMountsBelow(
        linux.readonlyPaths,
        edits.mounts.map(({ destination }) => ({ destination: cleanContainerPath(destination) })),
      ),
    },
  };
}

/** Returns the variables of a process with those that edits add. A variable replaces one of the same name. */
export function withVariables(env: readonly string[], added: readonly string[]): string[] {
  const values = new Map([...env, ...added].map((entry) => [entry.slice(0, entry.indexOf('=')), entry]));
  return [...values.values()];
}

function byDepth(mounts: readonly OciMount[]): OciMount[] {
  const depth = (path: string): number => path.split('/').filter((part) => part !== '').length;
  return [...mounts].sort((a, b) => depth(a.destination) - depth(b.destination));
}

function hooksOf(hooks: readonly AdjustedHook[]): Readonly<Record<string, readonly OciHook[]>> {
  const all: Record<string, OciHook[]> = {};
  for (const { hookName, ...hook } of hooks) (all[hookName] ??= []).push(hook);
  return all;
}

function unusable(on: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_CDI_UNUSABLE',
    kind: 'precondition',
    attempted: 'add CDI device',
    on,
    why,
    fix,
  });
}
