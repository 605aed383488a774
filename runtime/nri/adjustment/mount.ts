import { MountPropagation } from '../../cri/contract/contract.types.ts';
import type { Mount as RequestedMount } from '../../cri/contract/contract.types.ts';
import type { Mount } from '../protocol/contract.types.ts';
import type { OwnedChange } from './merge.ts';
import { unsupported } from './refusal.ts';
import { restrictingMountOptions } from '../../oci/mount-options.ts';

/** Mounts that every container has, whatever its request. */
const ofRuntime: ReadonlySet<string> = new Set([
  '/proc',
  '/dev',
  '/dev/pts',
  '/dev/mqueue',
  '/dev/shm',
  '/sys',
  '/sys/fs/cgroup',
  '/etc/resolv.conf',
  '/etc/hostname',
  '/etc/hosts',
]);

export function isRuntimesMount(path: string): boolean {
  return ofRuntime.has(path);
}

const propagations: Readonly<Record<string, MountPropagation>> = {
  private: MountPropagation.PROPAGATION_PRIVATE,
  rprivate: MountPropagation.PROPAGATION_PRIVATE,
  slave: MountPropagation.PROPAGATION_HOST_TO_CONTAINER,
  rslave: MountPropagation.PROPAGATION_HOST_TO_CONTAINER,
  shared: MountPropagation.PROPAGATION_BIDIRECTIONAL,
  rshared: MountPropagation.PROPAGATION_BIDIRECTIONAL,
};

/**
 * Returns the bind mount that a plugin adds, as a request. Pure.
 * @throws PortcullisError NRI_UNSUPPORTED for another type, and for an option that CRI does not have
 */
export function addedMount(change: OwnedChange): RequestedMount {
  const { destination, type, source, options } = change.value as Mount;
  const isBind = type === 'bind' || options.includes('bind') || options.includes('rbind');
  if (!isBind || !['', 'bind', 'none'].includes(type))
    throw unsupported(
      change,
      `it is a mount of type ${JSON.stringify(type.slice(0, 64))}`,
      'add a bind mount, of type "bind"',
    );
  let propagation: MountPropagation = MountPropagation.PROPAGATION_PRIVATE;
  let [readonly, recursiveReadOnly] = [false, false];
  const mountOptions: string[] = [];
  for (const option of options) {
    const how = propagations[option];
    if (how !== undefined) propagation = how;
    else if (option === 'ro') readonly = true;
    else if (option === 'rro') [readonly, recursiveReadOnly] = [true, true];
    else if (restrictingMountOptions.has(option)) mountOptions.push(option);
    else if (!['bind', 'rbind', 'rw'].includes(option))
      throw unsupported(change, `it has the option ${JSON.stringify(option.slice(0, 64))}`, 'leave it out');
  }
  return {
    containerPath: destination,
    hostPath: source,
    readonly,
    recursiveReadOnly,
    propagation,
    mountOptions,
    selinuxRelabel: false,
    uidMappings: [],
    gidMappings: [],
    imageSubPath: '',
  };
}
