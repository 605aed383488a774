import { realpath } from 'node:fs/promises';
import { MountPropagation } from '../../cri/contract/contract.types.ts';
import type { ContainerConfig } from '../../cri/contract/contract.types.ts';
import type { SandboxRecord } from '../../pods/record.ts';
import { askedCdiDevices } from '../cdi/device-names.ts';
import { readyEdits } from '../cdi/edits.ts';
import type { ReadyEdits } from '../cdi/edits.ts';
import type { CdiRegistry } from '../cdi/registry.ts';
import type { HostPaths } from '../../host-paths/host-paths.ts';
import type { BeyondCri } from '../adjusted.ts';
import type { HostAccess } from '../confinement/host-access.ts';
import { askedDevices } from '../host-devices.ts';
import type { DeviceNode } from '../host-devices.ts';
import { isImageVolume, isOwnOfPod, resolveSources } from '../mount-sources.ts';
import type { MountSource } from '../mount-sources.ts';

/** The resources of the host that a container requests: looked up, without any change on the host. */
export interface HostRequest {
  /** The source of every mount that is not an image volume. */
  readonly sources: readonly MountSource[];
  readonly devices: readonly DeviceNode[];
  readonly edits: ReadyEdits | undefined;
  /** The parts that are checked against ceilings. */
  readonly access: HostAccess;
}

/**
 * Follows links of mounts and devices, and reads CDI specs.
 * @throws PortcullisError RUNTIME_BAD_MOUNT, RUNTIME_BAD_DEVICE, RUNTIME_BAD_CDI_DEVICE and other errors of
 * CDI, RUNTIME_PATH_NO_ANSWER
 */
export async function hostRequest(input: {
  readonly config: ContainerConfig;
  /** Devices and hooks that plugins of the node added. */
  readonly beyond?: Pick<BeyondCri, 'devices' | 'hooks'> | undefined;
  readonly sandbox: Pick<SandboxRecord, 'config'>;
  readonly kubeletRoot: string;
  readonly cdi: CdiRegistry;
  readonly paths: HostPaths;
}): Promise<HostRequest> {
  const { config, sandbox, paths: hostPaths } = input;
  const { devices: addedDevices = [], hooks = [] } = input.beyond ?? {};
  const cdi = askedCdiDevices(config);
  const added = { deviceNodes: addedDevices, hooks };
  const [sources, devices, cdiEdits, kubeletRoot] = await Promise.all([
    resolveSources(
      config.mounts.filter((mount) => !isImageVolume(mount)),
      hostPaths,
    ),
    askedDevices(config.devices, hostPaths),
    input.cdi.editsFor(cdi),
    realpath(input.kubeletRoot).catch(() => input.kubeletRoot),
  ]);
  const uid = sandbox.config.metadata?.uid ?? '';
  const paths = sources.map(({ path }) => path).filter((path) => !isOwnOfPod(path, kubeletRoot, uid));
  const changes = addedDevices.length + hooks.length === 0 ? cdiEdits : [...cdiEdits, added];
  const shared = sources.filter(
    ({ mount }) => mount.propagation === MountPropagation.PROPAGATION_BIDIRECTIONAL,
  );
  return {
    sources,
    devices,
    edits: changes.length === 0 ? undefined : await readyEdits(changes, hostPaths),
    access: {
      devices: [
        ...config.devices.map((device) => device.hostPath),
        ...addedDevices.map(({ path, type, major, minor }) => `${path} (${type} ${major}:${minor})`),
      ],
      nodes: [
        ...devices.map(({ node: { type, major, minor }, access }) => ({ type, major, minor, access })),
        ...addedDevices.map(({ type, major, minor }) => ({ type, major, minor, access: 'rwm' })),
      ],
      hooks: hooks.map(({ path }) => path),
      cdi: cdi.map(({ text }) => text),
      paths: [...new Set(paths)],
      sharedPaths: shared.map(({ path }) => path),
    },
  };
}
