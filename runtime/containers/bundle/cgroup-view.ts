import { PortcullisError } from '../../../base/errors/index.ts';
import type { Settings } from '../../../entitlements/index.ts';
import { delegatesToNamespaces } from '../../cgroups/delegation.ts';
import type { CgroupMounts } from '../../cgroups/cgroups.ts';
import { CgroupMountMode, NamespaceMode } from '../../cri/contract/contract.types.ts';
import type { ContainerConfig, LinuxContainerSecurityContext } from '../../cri/contract/contract.types.ts';
import type { CgroupView } from '../../oci/cgroup-view.ts';

/**
 * Checks what a container asks for its cgroups: which of them it sees, and whether they are writable. Pure.
 * Source: cri-api 0.38, CgroupNamespace and CgroupMountMode.
 * @throws PortcullisError RUNTIME_BAD_CGROUP_OPTIONS
 */
export function checkCgroupOptions(config: ContainerConfig): void {
  const security = config.linux?.securityContext;
  if (security === undefined) return;
  const { privileged } = security;
  const mode = askedMode(security);
  const namespace = security.namespaceOptions?.cgroupnsOptions?.mode;
  if (!Object.values(CgroupMountMode).includes(mode))
    throw bad(config, `cgroup_mount_mode is ${String(mode)}`, 'use READ_ONLY or READ_WRITE');
  if (privileged && mode === CgroupMountMode.CGROUP_MOUNT_MODE_READ_ONLY)
    throw bad(
      config,
      'it is privileged, and its cgroups are then always writable',
      'remove cgroup_mount_mode, or privileged',
    );
  if (namespace === undefined) return;
  if (namespace !== NamespaceMode.CONTAINER && namespace !== NamespaceMode.NODE)
    throw bad(config, `its cgroupns_options.mode is ${String(namespace)}`, 'use CONTAINER or NODE');
  if (namespace === NamespaceMode.NODE && !privileged)
    throw bad(
      config,
      'it asks for the cgroup namespace of the node, which only privileged containers get',
      'use the mode CONTAINER, or remove cgroupns_options',
    );
}

/** Whether the request itself asks for writable cgroups below its own. */
export function asksWritableCgroups(config: ContainerConfig): boolean {
  const security = config.linux?.securityContext;
  return (
    security?.privileged === false && askedMode(security) === CgroupMountMode.CGROUP_MOUNT_MODE_READ_WRITE
  );
}

/** Records of earlier versions do not have the field. */
function askedMode(security: LinuxContainerSecurityContext): CgroupMountMode {
  const { cgroupMountMode } = security as Partial<LinuxContainerSecurityContext>;
  return cgroupMountMode ?? CgroupMountMode.CGROUP_MOUNT_MODE_UNSPECIFIED;
}

/**
 * Returns what a container sees of the cgroups of the node. As in other runtimes, version 1 has no cgroup
 * namespace, and a privileged container manages the cgroups of the node unless it asks for a namespace.
 * @param ownKernel whether the handler gives the container another kernel than that of the node
 * @throws PortcullisError RUNTIME_CGROUPS_NOT_DELEGATED
 */
export async function cgroupViewOf(
  mounts: Pick<CgroupMounts, 'version' | 'roots'>,
  config: ContainerConfig,
  { writableSys, writableCgroups }: Pick<Settings, 'writableSys' | 'writableCgroups'>,
  ownKernel: boolean,
): Promise<CgroupView> {
  const asked = config.linux?.securityContext?.namespaceOptions?.cgroupnsOptions?.mode;
  const readOnly =
    config.linux?.securityContext !== undefined &&
    askedMode(config.linux.securityContext) === CgroupMountMode.CGROUP_MOUNT_MODE_READ_ONLY;
  if (writableSys) {
    if (mounts.version === 1) {
      if (asked === NamespaceMode.CONTAINER) throw noNamespace(config);
      return { namespace: false, writable: true, delegated: false };
    }
    if (asked === NamespaceMode.CONTAINER) return { namespace: true, writable: !readOnly, delegated: false };
    const [hostFolder = '/sys/fs/cgroup'] = mounts.roots;
    const seen = { namespace: false, writable: !readOnly, delegated: false };
    return ownKernel ? seen : { ...seen, hostFolder };
  }
  if (asked === NamespaceMode.CONTAINER && mounts.version === 1) throw noNamespace(config);
  const writable = writableCgroups && !readOnly;
  const delegated = writable && !ownKernel;
  if (delegated && !(await delegatesToNamespaces(mounts))) throw notDelegated(config, mounts.version);
  return { namespace: mounts.version === 2, writable, delegated };
}

function noNamespace(config: ContainerConfig): PortcullisError {
  return bad(
    config,
    'it asks for a cgroup namespace, and this node has cgroup version 1',
    'remove cgroupns_options, or use a node with cgroup version 2',
  );
}

/** Without nsdelegate, the container could raise the limits of its own cgroup. */
function notDelegated(config: ContainerConfig, version: 1 | 2): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_CGROUPS_NOT_DELEGATED',
    kind: 'precondition',
    attempted: 'make cgroups writable in container',
    on: config.metadata?.name ?? '',
    why:
      version === 1
        ? 'this node has cgroup version 1, where a container could raise its own limits'
        : 'this node mounts cgroup version 2 without nsdelegate, so the container could raise its own limits',
    fix:
      version === 1
        ? 'use a node with cgroup version 2'
        : 'run `mount -o remount,nsdelegate,memory_recursiveprot /sys/fs/cgroup` on the node, as systemd does at its start',
  });
}

function bad(config: ContainerConfig, why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_BAD_CGROUP_OPTIONS',
    kind: 'invalid',
    attempted: 'create container with cgroup options',
    on: config.metadata?.name ?? '',
    why,
    fix,
  });
}
