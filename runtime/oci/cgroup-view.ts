import type { OciMount, OciResources } from './spec.types.ts';

/** The cgroups that a container sees at /sys/fs/cgroup. */
export interface CgroupView {
  /** Its own cgroup is the root of what it sees: cgroup_namespaces(7). */
  readonly namespace: boolean;
  readonly writable: boolean;
  /**
   * The folder of the host that is mounted. Absent: the runtime mounts the cgroups itself. A new mount of
   * version 2 without a cgroup namespace would replace the options of the host, such as nsdelegate.
   */
  readonly hostFolder?: string;
  /** It may create cgroups below its own, in numbers that this bounds. */
  readonly delegated: boolean;
}

/**
 * The cgroups that a container may create below its own, and how deep. The memory that the kernel needs for
 * them, about 14 KiB each, does not count against the container. A kubelet sets its own bounds on the pod.
 */
const cgroupBounds: Readonly<Record<string, string>> = {
  'cgroup.max.descendants': '1024',
  'cgroup.max.depth': '32',
};

/** Returns the mount at /sys/fs/cgroup. Pure. */
export function cgroupMount({ writable, hostFolder }: CgroupView): OciMount {
  const options = ['nosuid', 'noexec', 'nodev', 'relatime', writable ? 'rw' : 'ro'];
  const destination = '/sys/fs/cgroup';
  return hostFolder === undefined
    ? { destination, type: 'cgroup', source: 'cgroup', options }
    : { destination, type: 'bind', source: hostFolder, options: ['bind', ...options] };
}

/** Adds the bounds of a container that may create cgroups. Pure. */
export function boundedCgroups(resources: OciResources, { delegated }: CgroupView): OciResources {
  return delegated ? { ...resources, unified: { ...resources.unified, ...cgroupBounds } } : resources;
}
