import { PortcullisError } from '../../base/errors/index.ts';
import type { Mount } from '../cri/contract/contract.types.ts';
import { checkedMountOptions } from './mount-options.ts';
import type { OciMount } from './spec.types.ts';

/** cri-api MountPropagation. */
const propagation: readonly (string | undefined)[] = ['rprivate', 'rslave', 'rshared'];

export interface PodFiles {
  /** Folder mounted at /dev/shm. */
  readonly shm: string;
  readonly resolvConf: string;
  readonly hostname: string;
  readonly hosts: string;
}

/**
 * Every mount of a container, in the order they are made: kernel file systems, the pod's files, then what was asked, shallow before deep.
 * A destination that was asked for replaces ours.
 * @throws PortcullisError RUNTIME_BAD_MOUNT
 */
export function containerMounts(input: {
  readonly asked: readonly Mount[];
  readonly podFiles: PodFiles;
  readonly readonlyRootfs: boolean;
  readonly writableSys: boolean;
  /** The pod's network namespace is the host's: sysfs can not be mounted anew by some kernels, so it is bound. */
  readonly hostNetwork: boolean;
}): readonly OciMount[] {
  const asked = input.asked.map(toOciMount);
  const taken = new Set(asked.map((mount) => mount.destination));
  const sysMode = input.writableSys ? 'rw' : 'ro';
  const fileMode = input.readonlyRootfs ? 'ro' : 'rw';
  const ours: OciMount[] = [
    { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
    { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'] },
    {
      destination: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
    },
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
    { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', sysMode] },
    { destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: ['nosuid', 'noexec', 'nodev', 'relatime', sysMode] },
    { destination: '/dev/shm', type: 'bind', source: input.podFiles.shm, options: ['rbind', 'rw', 'nosuid', 'noexec', 'nodev'] },
    { destination: '/etc/resolv.conf', type: 'bind', source: input.podFiles.resolvConf, options: ['rbind', 'rprivate', fileMode] },
    { destination: '/etc/hostname', type: 'bind', source: input.podFiles.hostname, options: ['rbind', 'rprivate', fileMode] },
    { destination: '/etc/hosts', type: 'bind', source: input.podFiles.hosts, options: ['rbind', 'rprivate', fileMode] },
  ];
  return [...ours.filter((mount) => !taken.has(mount.destination)), ...asked.sort((a, b) => depth(a.destination) - depth(b.destination))];
}

/** The widest propagation that a mount asks for decides how the root is shared with the host (runtime-spec: rootfsPropagation). */
export function rootfsPropagation(asked: readonly Mount[]): string | undefined {
  const widest = Math.max(0, ...asked.map((mount) => mount.propagation));
  return widest === 0 ? undefined : propagation[widest];
}

function toOciMount(mount: Mount): OciMount {
  const destination = mount.containerPath;
  if (!destination.startsWith('/') || destination.split('/').includes('..') || destination.includes('\0')) {
    throw badMount(destination, 'the path in the container is not absolute and clean', 'give an absolute path without ".."');
  }
  if (!mount.hostPath.startsWith('/'))
    throw badMount(destination, `the host path ${JSON.stringify(mount.hostPath)} is not absolute`, 'give an absolute host path');
  if (mount.uidMappings.length > 0 || mount.gidMappings.length > 0) {
    throw badMount(destination, 'it asks for an idmapped mount', 'idmapped mounts are not supported by this version');
  }
  if (mount.recursiveReadOnly) {
    throw new PortcullisError({
      code: 'RUNTIME_RRO_UNSUPPORTED',
      kind: 'unimplemented',
      attempted: 'mount',
      on: destination,
      why: 'recursive read-only mounts are not supported by this runtime handler',
      fix: 'ask for a plain read-only mount',
      prefix: 'RROUnsupported',
    });
  }
  const how = propagation[mount.propagation];
  if (how === undefined)
    throw badMount(destination, `its propagation ${mount.propagation} is unknown`, 'use one of the CRI’s MountPropagation');
  return {
    destination: clean(destination),
    type: 'bind',
    source: mount.hostPath,
    options: ['rbind', how, mount.readonly ? 'ro' : 'rw', ...checkedMountOptions(mount.mountOptions, destination)],
  };
}

function clean(path: string): string {
  return (
    '/' +
    path
      .split('/')
      .filter((part) => part !== '' && part !== '.')
      .join('/')
  );
}

function depth(path: string): number {
  return path.split('/').filter((part) => part !== '').length;
}

function badMount(on: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({ code: 'RUNTIME_BAD_MOUNT', kind: 'invalid', attempted: 'mount', on, why, fix });
}
