import { resolve } from 'node:path/posix';
import { PortcullisError } from '../../../base/errors/index.ts';
import type { KernelFeatures } from '../../../entitlements/index.ts';
import type { GuestKernel } from '../../oci/runtime-handler.ts';

/**
 * Returns what can be enforced inside a container whose handler gives it a separate kernel: the security
 * modules of the node do not apply there.
 */
export function guestFeatures({ landlock: _landlock, ...features }: KernelFeatures): KernelFeatures {
  return { ...features, apparmor: false };
}

/** The file systems of a separate kernel show that kernel, and not the one of the node. */
const ofGuest = /^\/(?:proc|sys)(?:\/|$)/;

/** Returns whether `path` is `folder`, or is below it. */
const isIn = (path: string, folder: string): boolean => path === folder || path.startsWith(`${folder}/`);

/**
 * Returns whether a separate kernel shows itself at a path. Where the container has its own mount there, such
 * as a volume at /sys, it shows files of the node.
 */
function showsGuest(path: string, mounts: readonly string[]): boolean {
  if (!ofGuest.test(path)) return false;
  const places = mounts.map((mount) => resolve('/', mount));
  return !places.some((place) => ofGuest.test(place) && (isIn(path, place) || isIn(place, path)));
}

/**
 * Returns a sentence for each part of the confinement that the node does not enforce in a container with a
 * separate kernel. Everything else in a profile is enforced: it is applied from outside (mounts, devices,
 * the limits of the pod, its link), or by the guest.
 * @param asked.filtered whether the profile filters system calls
 * @param asked.apparmor the AppArmor profile of the node that the pod names
 * @param asked.paths masked and read-only paths. gVisor ignores those of an OCI configuration
 * @param asked.mounts where the container has mounts of its own
 * @param asked.limits names of resources that the profile limits. gVisor keeps all processes of a pod in one
 * cgroup, which has only the limits of the pod
 * @param allowed whether all ceilings allow the degraded form
 * @throws PortcullisError RUNTIME_GUEST_UNENFORCEABLE unless `allowed`, for a filter, a named profile,
 * limits, and paths outside of /proc and /sys or in mounts of the container
 */
export function unenforcedInGuest(
  guest: GuestKernel,
  asked: {
    readonly filtered: boolean;
    readonly apparmor: string | undefined;
    readonly paths: readonly string[];
    readonly mounts: readonly string[];
    readonly limits: readonly string[];
  },
  allowed: boolean,
): readonly string[] {
  const paths = asked.paths.filter((path) => !showsGuest(path, asked.mounts));
  const named = paths.length > 8 ? [...paths.slice(0, 8), `${paths.length - 8} more`] : paths;
  const missing = [
    ...(asked.filtered && !guest.filtersCalls
      ? ['it is not known whether system calls are filtered there']
      : []),
    ...(asked.apparmor === undefined ? [] : [`the AppArmor profile ${asked.apparmor} is not applied there`]),
    ...(paths.length === 0
      ? []
      : [`it is not known whether masked and read-only paths apply there: ${named.join(', ')}`]),
    ...(asked.limits.length === 0
      ? []
      : [`it is not known whether limits of the profile apply there: ${asked.limits.join(', ')}`]),
  ];
  if (missing.length > 0 && !allowed)
    throw new PortcullisError({
      code: 'RUNTIME_GUEST_UNENFORCEABLE',
      kind: 'denied',
      attempted: 'confine a container of the runtime handler',
      on: guest.handler,
      why: `it runs containers on a separate kernel, and ${missing.join('; ')}`,
      fix: 'allow this in the rule of the image (`onDegraded: allow`), or use another RuntimeClass',
    });
  return [
    `the runtime handler ${guest.handler} runs containers on a separate kernel: AppArmor, SELinux and Landlock of this node do not apply there`,
    ...missing,
  ];
}
