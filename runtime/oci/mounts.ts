import { largest } from '../../base/lists/index.ts';
import type { IDMapping, Mount } from '../cri/contract/contract.types.ts';
import { cleanContainerPath } from './container-path.ts';
import { checkedMountOptions } from './mount-options.ts';
import { cgroupMount } from './cgroup-view.ts';
import type { CgroupView } from './cgroup-view.ts';
import { accessOption, idMappings, withSubmounts } from './mapped-mounts.ts';
import type { HandlerFeatures } from './handler-features.ts';
import type { OciMount } from './spec.types.ts';
import { badMount } from '../container-mounts/bad-mount.ts';

/** cri-api MountPropagation. */
const propagation: readonly (string | undefined)[] = ['rprivate', 'rslave', 'rshared'];

/** The pod's own user namespace, which its containers join. */
export interface JoinedUserNamespace {
  readonly path: string;
  readonly uids: IDMapping;
  readonly gids: IDMapping;
  /** The host's mount table, for a runtime whose bind mounts leave out the mounts below the source. */
  readonly mountinfo?: string;
}

export interface PodFiles {
  /** The folder mounted at /dev/shm. */
  readonly shm: string;
  readonly resolvConf: string;
  readonly hostname: string;
  readonly hosts: string;
}

/**
 * Returns every mount of a container, in the order in which they are made: kernel file systems, the pod's
 * files, then the requested mounts, shallowest first. A requested destination replaces ours.
 * @throws PortcullisError RUNTIME_BAD_MOUNT
 */
export function containerMounts(input: {
  readonly asked: readonly Mount[];
  readonly podFiles: PodFiles;
  readonly readonlyRootfs: boolean;
  readonly writableSys: boolean;
  readonly cgroups: CgroupView;
  /** The pod uses the network namespace of the host. */
  readonly hostNetwork: boolean;
  readonly features: HandlerFeatures;
  readonly userNamespace: JoinedUserNamespace | undefined;
}): readonly OciMount[] {
  const requested = input.asked.map((mount) => toOciMount(mount, input.features));
  const asked =
    input.userNamespace?.mountinfo === undefined
      ? requested
      : withSubmounts(requested, input.userNamespace.mountinfo);
  // Every image has the group of terminals as 5 (Debian, Red Hat, Alpine). A smaller namespace does not have
  // that id.
  const terminals = (input.userNamespace?.gids.length ?? Infinity) > 5 ? ['gid=5'] : [];
  const taken = new Set(asked.map((mount) => mount.destination));
  const sysMode = input.writableSys ? 'rw' : 'ro';
  const fileMode = input.readonlyRootfs ? 'ro' : 'rw';
  const ours: OciMount[] = [
    { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
    {
      destination: '/dev',
      type: 'tmpfs',
      source: 'tmpfs',
      options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
    },
    {
      destination: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', ...terminals],
    },
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
    sysMount(input, sysMode),
    cgroupMount(input.cgroups),
    {
      destination: '/dev/shm',
      type: 'bind',
      source: input.podFiles.shm,
      options: ['rbind', 'rw', 'nosuid', 'noexec', 'nodev'],
    },
    {
      destination: '/etc/resolv.conf',
      type: 'bind',
      source: input.podFiles.resolvConf,
      options: ['rbind', 'rprivate', fileMode],
    },
    {
      destination: '/etc/hostname',
      type: 'bind',
      source: input.podFiles.hostname,
      options: ['rbind', 'rprivate', fileMode],
    },
    {
      destination: '/etc/hosts',
      type: 'bind',
      source: input.podFiles.hosts,
      options: ['rbind', 'rprivate', fileMode],
    },
  ];
  return [
    ...ours.filter((mount) => !taken.has(mount.destination)),
    ...asked.sort((a, b) => depth(a.destination) - depth(b.destination)),
  ];
}

/**
 * Returns the mount of sysfs. A new sysfs shows the devices of a network namespace, and the root of a user
 * namespace cannot mount the one of the host: then that of the host is bound, with all that is mounted below.
 */
function sysMount(
  {
    hostNetwork,
    userNamespace,
    features,
  }: Pick<Parameters<typeof containerMounts>[0], 'hostNetwork' | 'userNamespace' | 'features'>,
  mode: 'ro' | 'rw',
): OciMount {
  const options = ['nosuid', 'noexec', 'nodev'];
  if (!hostNetwork || userNamespace === undefined)
    return { destination: '/sys', type: 'sysfs', source: 'sysfs', options: [...options, mode] };
  const access = mode === 'ro' && features.recursiveReadOnlyMounts ? 'rro' : mode;
  return {
    destination: '/sys',
    type: 'bind',
    source: '/sys',
    options: ['rbind', 'rslave', ...options, access],
  };
}

/**
 * Returns how the root is shared with the host: by the widest propagation that a mount requests
 * (runtime-spec: rootfsPropagation).
 */
export function rootfsPropagation(asked: readonly Mount[]): string | undefined {
  const widest = Math.max(0, largest(asked.map((mount) => mount.propagation)));
  return widest === 0 ? undefined : propagation[widest];
}

function toOciMount(mount: Mount, features: HandlerFeatures): OciMount {
  const destination = mount.containerPath;
  if (!destination.startsWith('/') || destination.includes('\0'))
    throw badMount(destination, 'the path in the container is not absolute', 'give an absolute path');
  if (!mount.hostPath.startsWith('/'))
    throw badMount(
      destination,
      `the host path ${JSON.stringify(mount.hostPath)} is not absolute`,
      'give an absolute host path',
    );
  const how = propagation[mount.propagation];
  if (how === undefined)
    throw badMount(
      destination,
      `its propagation ${mount.propagation} is unknown`,
      'use one of the CRI’s MountPropagation',
    );
  return {
    destination: cleanContainerPath(destination),
    type: 'bind',
    source: mount.hostPath,
    options: [
      'rbind',
      how,
      accessOption(mount, features),
      ...checkedMountOptions(mount.mountOptions, destination),
    ],
    ...idMappings(mount, features),
  };
}

function depth(path: string): number {
  return path.split('/').filter((part) => part !== '').length;
}
