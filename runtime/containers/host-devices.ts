import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PortcullisError } from '../../base/errors/index.ts';
import type { Device } from '../cri/contract/contract.types.ts';
import { hasNoAnswer, isOf } from '../host-paths/host-paths.ts';
import type { HostPaths } from '../host-paths/host-paths.ts';
import type { OciDevice } from '../oci/spec.types.ts';

/** A device node of the container, and the access that its processes have to it. */
export interface DeviceNode {
  readonly node: OciDevice;
  /** Where the host has it, without links. */
  readonly source: string;
  /** A subset of r, w and m (mknod), as in the device cgroup; empty: a node that cannot be opened. */
  readonly access: string;
}

type FoundDevice = Pick<DeviceNode, 'node' | 'source'>;

type DevicePaths = Pick<HostPaths, 'facts' | 'ownFacts' | 'names'>;

/** More than a host has. */
const deviceLimit = 4096;

/**
 * Returns the device nodes behind the devices that a container requests. A link is followed; a folder gives
 * every device in it.
 * @throws PortcullisError RUNTIME_BAD_DEVICE, RUNTIME_PATH_NO_ANSWER
 */
export async function askedDevices(asked: readonly Device[], paths: DevicePaths): Promise<DeviceNode[]> {
  if (asked.length > deviceLimit)
    throw badDevice('', `the container requests ${asked.length} devices`, `request ${deviceLimit} at most`);
  const all: DeviceNode[] = [];
  for (const { hostPath, containerPath, permissions } of asked) {
    checkPath(hostPath, 'host path');
    checkPath(containerPath, 'container path');
    const access = accessOf(permissions, hostPath);
    const found = await devicesAt(hostPath, containerPath, paths);
    if (found.length === 0)
      throw badDevice(
        hostPath,
        'the host has no device at this path, and no folder with devices',
        'name a device of the host',
      );
    for (const one of found) all.push({ ...one, access });
  }
  return all;
}

/** Returns a subset of r, w and m, each once. An empty request means all three, as in other runtimes. */
export function accessOf(permissions: string, on: string): string {
  if (permissions === '') return 'rwm';
  if (/^[rwm]{1,3}$/.test(permissions) && new Set(permissions).size === permissions.length)
    return permissions;
  throw badDevice(
    on,
    `its permissions ${JSON.stringify(permissions.slice(0, 64))} contain characters other than r, w and m`,
    'correct the device',
  );
}

function checkPath(path: string, what: string): void {
  if (path.startsWith('/') && !path.includes('\0') && !path.split('/').includes('..')) return;
  throw badDevice(
    path,
    `its ${what} ${JSON.stringify(path)} is not absolute and normalized`,
    'give an absolute path without ".."',
  );
}

/** Folders of /dev that are separate kernel file systems, or belong to each container. */
const notDevices = new Set([
  '/dev/pts',
  '/dev/shm',
  '/dev/fd',
  '/dev/mqueue',
  '/dev/console',
  '/dev/.lxc',
  '/dev/.lxd-mounts',
  '/dev/.udev',
]);

/** Returns every device of the host, for a privileged container. */
export async function allHostDevices(paths: DevicePaths): Promise<DeviceNode[]> {
  // No pod names this folder, and its content is in the memory of the kernel.
  const ofDev: DevicePaths = {
    ...paths,
    names: (folder) => (folder === '/dev' ? readdir(folder) : paths.names(folder)),
  };
  return (await devicesAt('/dev', '/dev', ofDev)).map((one) => ({ ...one, access: 'rwm' }));
}

/** Returns all devices of the host and, at other paths, the requested ones. */
export function withAllHostDevices(all: readonly DeviceNode[], asked: readonly DeviceNode[]): DeviceNode[] {
  const paths = new Set(all.map(({ node }) => node.path));
  return [...all, ...asked.filter(({ node }) => !paths.has(node.path))];
}

/** Returns the devices with the container's user as their owner. */
export function ownedBy(
  devices: readonly DeviceNode[],
  user: { readonly uid: number; readonly gid: number },
): DeviceNode[] {
  return devices.map((one) => ({ ...one, node: { ...one.node, uid: user.uid, gid: user.gid } }));
}

/** Inside a folder, links are not followed: they lead to devices of the same folder, or out of it. */
async function devicesAt(
  hostPath: string,
  containerPath: string,
  paths: DevicePaths,
): Promise<FoundDevice[]> {
  if (notDevices.has(hostPath)) return [];
  const found = await deviceNode(hostPath, containerPath, paths);
  if (found !== 'folder') return found === undefined ? [] : [found];
  const names = [...(await paths.names(hostPath))].sort();
  const all = await Promise.all(
    names.map((name) => inFolder(join(hostPath, name), join(containerPath, name), paths)),
  );
  return all.flat();
}

async function inFolder(hostPath: string, containerPath: string, paths: DevicePaths): Promise<FoundDevice[]> {
  const link = await paths.ownFacts(hostPath).then((facts) => isOf(facts, 'link'), unlessNoAnswer(true));
  return link ? [] : devicesAt(hostPath, containerPath, paths);
}

/** Returns the node behind a path, `folder` for a folder, undefined for anything else. */
export async function deviceNode(
  hostPath: string,
  containerPath: string,
  paths: Pick<HostPaths, 'facts'>,
): Promise<FoundDevice | 'folder' | undefined> {
  const facts = await paths.facts(hostPath).catch(unlessNoAnswer(undefined));
  if (facts === undefined) return undefined;
  if (isOf(facts, 'folder')) return 'folder';
  if (!isOf(facts, 'character') && !isOf(facts, 'block')) return undefined;
  const node = {
    path: containerPath,
    type: isOf(facts, 'block') ? ('b' as const) : ('c' as const),
    major: facts.major,
    minor: facts.minor,
    fileMode: facts.mode & 0o777,
    uid: facts.uid,
    gid: facts.gid,
  };
  return { node, source: facts.path };
}

/** A path that cannot be examined counts as absent, unless its file system did not answer. */
function unlessNoAnswer<T>(otherwise: T): (thrown: unknown) => T {
  return (thrown) => {
    if (hasNoAnswer(thrown)) throw thrown;
    return otherwise;
  };
}

export function badDevice(on: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_BAD_DEVICE',
    kind: 'invalid',
    attempted: 'add device',
    on,
    why,
    fix,
  });
}
