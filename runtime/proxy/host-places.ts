import type { ContainerConfig } from '../cri/contract/contract.types.ts';
import type { MountSource } from '../containers/mount-sources.ts';
import type { HostPaths } from '../host-paths/host-paths.ts';
import { isFile } from '../oci/file-mounts.ts';
import type { FieldEdit } from './wire.ts';

/** Paths of the host by the indexes of mounts and devices. Only those that differ from the request. */
export interface HostPlaces {
  readonly mounts: ReadonlyMap<number, string>;
  readonly devices: ReadonlyMap<number, string>;
  /** The indexes of mounts of single files. */
  readonly files: ReadonlySet<number>;
}

/**
 * Returns the request with the paths to which the links of its devices lead. These paths are checked and
 * passed on: the backend follows links again, and whoever can change a link could choose another device
 * between the two. A path that cannot be followed stays, and the check refuses it.
 */
export async function withFollowedDevices(
  config: ContainerConfig,
  paths: Pick<HostPaths, 'facts'>,
): Promise<ContainerConfig> {
  const devices = await Promise.all(
    config.devices.map(async (device) => {
      const { hostPath } = device;
      if (!hostPath.startsWith('/') || hostPath.split('/').includes('..')) return device;
      const facts = await paths.facts(hostPath).catch(() => undefined);
      return facts === undefined ? device : { ...device, hostPath: facts.path };
    }),
  );
  return { ...config, devices };
}

/**
 * Returns the paths that were checked, for the request to the backend.
 * @param checked.followed see {@link withFollowedDevices}
 * @param checked.sources of the mounts
 * @throws PortcullisError RUNTIME_PATH_NO_ANSWER
 */
export async function hostPlaces(
  { mounts, devices }: Pick<ContainerConfig, 'devices' | 'mounts'>,
  checked: { readonly followed: Pick<ContainerConfig, 'devices'>; readonly sources: readonly MountSource[] },
  paths: Pick<HostPaths, 'facts'>,
): Promise<HostPlaces> {
  const ofMounts = checked.sources.map(({ mount, path }) => [mounts.indexOf(mount), path] as const);
  const ofDevices = checked.followed.devices.map(({ hostPath }, index) => [index, hostPath] as const);
  const areFiles = await Promise.all(ofMounts.map(([, path]) => isFile(path, paths)));
  return {
    mounts: new Map(ofMounts.filter(([index, path]) => mounts[index]?.hostPath !== path)),
    devices: new Map(ofDevices.filter(([index, path]) => devices[index]?.hostPath !== path)),
    files: new Set(ofMounts.filter((_, at) => areFiles[at]).map(([index]) => index)),
  };
}

/**
 * Returns the edits that make a volume read-only, with all mounts below it. Nothing is mounted below a file,
 * and crun before 1.14.4, which a backend may use, cannot mount a file in that way.
 */
export function readonlyVolume(isOfFile: boolean): Readonly<Record<string, FieldEdit>> {
  return { readonly: { set: true }, ...(!isOfFile && { recursiveReadOnly: { set: true } }) };
}
