import { readFile } from 'node:fs/promises';
import type { Mount } from '../../cri/contract/contract.types.ts';
import type { HostPaths } from '../../host-paths/host-paths.ts';
import type { ImageStore, LayerMapping } from '../../images/types.ts';
import { cleanContainerPath } from '../../oci/container-path.ts';
import type { JoinedUserNamespace, PodFiles } from '../../oci/mounts.ts';
import type { OciMount } from '../../oci/spec.types.ts';
import { meetsAny, nodeMountsIn } from '../../oci/readonly-below.ts';
import { declaredVolumes } from './declared-volumes.ts';
import { allHostDevices, ownedBy, withAllHostDevices } from '../host-devices.ts';
import type { DeviceNode } from '../host-devices.ts';
import { mountVolumes } from './image-volumes.ts';
import { checkMappable, rootOwner } from './user-namespace.ts';
import type { ContainerUser } from './user.ts';
import type { CheckedRequest } from './request.ts';
import type { HostRequest } from './host-request.ts';

/**
 * Mounts the image volumes, labels what the container may use of the host, and returns every mount of the
 * container, in the order of the spec: first the volumes that the image declares.
 * @param root the root file system of the container, and the user namespace that it joins
 * @throws PortcullisError RUNTIME_SELINUX_RELABEL, RUNTIME_IDMAP_UNSUPPORTED, RUNTIME_BAD_IMAGE_VOLUME, and
 * the errors of the image store
 */
export async function bundleMounts(
  deps: { readonly images: Pick<ImageStore, 'mountVolume'>; readonly paths: HostPaths },
  { record, admitted, plan, host, confined }: CheckedRequest,
  files: PodFiles,
  root: {
    readonly path: string;
    readonly mapping: LayerMapping | undefined;
    readonly userNamespace: JoinedUserNamespace | undefined;
  },
): Promise<readonly Mount[]> {
  const { userNamespace } = root;
  const volumes = await mountVolumes(deps.images, record.id, admitted.volumes, root.mapping);
  await confined.relabel([
    ...(plan.hostIpc ? [] : [files.shm]),
    ...[files.resolvConf, files.hostname, files.hosts],
    ...host.sources.filter(({ mount }) => mount.selinuxRelabel).map(({ path }) => path),
  ]);
  const mounts = [...host.sources.map(({ mount, path }) => ({ ...mount, hostPath: path })), ...volumes];
  if (userNamespace !== undefined) await checkMappable(deps.paths, mounts, userNamespace.path);
  const declared = declaredVolumes(
    root.path,
    admitted.image.config.volumes,
    new Set(mounts.map((mount) => cleanContainerPath(mount.containerPath))),
    rootOwner(userNamespace),
  );
  return [...declared, ...mounts];
}

/** Returns the table of mounts of the node if a mount is in a read-only path, or above one. */
export async function mountinfoFor(
  mounts: readonly Pick<OciMount, 'destination'>[],
  readonlyPaths: readonly string[],
): Promise<string | undefined> {
  const meets = meetsAny(readonlyPaths);
  return mounts.some(({ destination }) => meets(cleanContainerPath(destination)))
    ? readFile('/proc/self/mountinfo', 'utf8')
    : undefined;
}

/**
 * Returns where a container has mounts that its request does not name: those of CDI devices and, in read-only
 * paths or above them, mounts of the node below volumes and below CDI mounts.
 */
export async function addedMountPoints(
  { sources, edits }: Pick<HostRequest, 'sources' | 'edits'>,
  readonlyPaths: readonly string[],
): Promise<readonly string[]> {
  const ofDevices = edits?.mounts ?? [];
  const binds = [
    ...sources.map(({ mount, path }) => ({
      ...{ destination: mount.containerPath, type: 'bind', source: path },
      options: ['rbind'],
    })),
    ...ofDevices,
  ];
  const mountinfo = await mountinfoFor(binds, readonlyPaths);
  return [...ofDevices, ...nodeMountsIn(readonlyPaths, binds, mountinfo)].map(({ destination }) =>
    cleanContainerPath(destination),
  );
}

/**
 * Returns the devices of the container: those that it requests and, if its settings say so, all of the host.
 * @throws PortcullisError RUNTIME_PATH_NO_ANSWER
 */
export async function bundleDevices(
  deps: { readonly paths: HostPaths; readonly devicesOwnedByUser: boolean },
  { host, confined }: Pick<CheckedRequest, 'host' | 'confined'>,
  user: ContainerUser,
): Promise<readonly DeviceNode[]> {
  const asked = deps.devicesOwnedByUser ? ownedBy(host.devices, user) : host.devices;
  return confined.settings.hostDevices ? withAllHostDevices(await allHostDevices(deps.paths), asked) : asked;
}
