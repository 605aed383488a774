import { PortcullisError } from '../../base/errors/index.ts';
import { MountPropagation } from '../cri/contract/contract.types.ts';
import type { IDMapping, Mount } from '../cri/contract/contract.types.ts';
import { mountPointsBelow, parseMountinfo } from '../container-mounts/mountinfo.ts';
import type { HandlerFeatures } from './handler-features.ts';
import type { OciIdMapping, OciMount } from './spec.types.ts';
import { badMount } from '../container-mounts/bad-mount.ts';

/** The maximum number of ranges of one mount. Kernels accept more, and no kubelet asks for more than one. */
const rangeLimit = 32;

/**
 * Returns `ro`, `rw` or `rro`, as requested. Source: cri-api Mount.recursive_read_only.
 * @throws PortcullisError RUNTIME_BAD_MOUNT; RUNTIME_RRO_UNSUPPORTED with the prefix that kubelets know
 */
export function accessOption(
  mount: Mount,
  features: Pick<HandlerFeatures, 'recursiveReadOnlyMounts'>,
): 'ro' | 'rw' | 'rro' {
  if (!mount.recursiveReadOnly) return mount.readonly ? 'ro' : 'rw';
  const on = mount.containerPath;
  if (!mount.readonly) throw badMount(on, 'recursive_read_only is set and readonly is not', 'set both');
  if (mount.propagation !== MountPropagation.PROPAGATION_PRIVATE)
    throw badMount(
      on,
      'recursive_read_only is set with a propagation that is not private',
      'use private propagation',
    );
  return recursivelyReadOnly(on, features);
}

/**
 * Returns the option that makes a mount and all below it read-only.
 * @param on where the container has the mount
 * @throws PortcullisError RUNTIME_RRO_UNSUPPORTED with the prefix that kubelets know
 */
export function recursivelyReadOnly(
  on: string,
  features: Pick<HandlerFeatures, 'recursiveReadOnlyMounts'>,
): 'rro' {
  if (features.recursiveReadOnlyMounts) return 'rro';
  throw new PortcullisError({
    code: 'RUNTIME_RRO_UNSUPPORTED',
    kind: 'unimplemented',
    attempted: 'mount',
    on,
    why: 'the probe of this runtime handler found no support for recursive read-only mounts',
    fix: 'request a plain read-only mount, or use a handler and a kernel (5.12 and later) with this support',
    prefix: 'RROUnsupported',
  });
}

/**
 * Returns the id mappings of a mount for the runtime, or an empty object if it has none. Pure.
 * @throws PortcullisError RUNTIME_BAD_MOUNT; RUNTIME_IDMAP_UNSUPPORTED when the runtime would ignore them
 */
export function idMappings(
  mount: Mount,
  features: Pick<HandlerFeatures, 'idmappedMounts'>,
): Pick<OciMount, 'uidMappings' | 'gidMappings'> {
  const { uidMappings, gidMappings, containerPath } = mount;
  if (uidMappings.length === 0 && gidMappings.length === 0) return {};
  if (uidMappings.length === 0 || gidMappings.length === 0)
    throw badMount(containerPath, 'it maps only uids or only gids', 'give uidMappings and gidMappings');
  const ranges = [...uidMappings, ...gidMappings];
  if (ranges.length > rangeLimit || ranges.some((range) => range.length < 1))
    throw badMount(
      containerPath,
      'its id mappings are empty or too many',
      `give ranges of at least one id, ${rangeLimit} at most`,
    );
  if (features.idmappedMounts)
    return { uidMappings: uidMappings.map(ociMapping), gidMappings: gidMappings.map(ociMapping) };
  throw new PortcullisError({
    code: 'RUNTIME_IDMAP_UNSUPPORTED',
    kind: 'precondition',
    attempted: 'map the ids of mount',
    on: containerPath,
    why: 'the probe of this runtime handler found no support for idmapped mounts: it would silently leave the owners of files unchanged',
    fix: 'use runc 1.2 or crun 1.8 and later on Linux 5.12 and later, or run the pod with `hostUsers: true`',
  });
}

export function ociMapping(range: IDMapping): OciIdMapping {
  return { containerID: range.containerId, hostID: range.hostId, size: range.length };
}

/**
 * Returns each mount, followed by the mounts below its source. This is for a runtime that leaves those out of
 * `rbind` in a user namespace. A mapping applies only to the mount that asked for it, as with `rbind` itself.
 * Pure.
 * @param mountinfo /proc/self/mountinfo of the host
 */
export function withSubmounts(mounts: readonly OciMount[], mountinfo: string): OciMount[] {
  const lines = parseMountinfo(mountinfo);
  return mounts.flatMap((mount) => {
    if (!mount.options.includes('rbind')) return [mount];
    const { uidMappings: _uids, gidMappings: _gids, ...plain } = mount;
    const root = mount.source === '/' ? '' : mount.source;
    const base = mount.destination === '/' ? '' : mount.destination;
    const below = mountPointsBelow(lines, mount.source).map((target) => target.slice(root.length));
    return [
      mount,
      ...below.map((path) => ({ ...plain, destination: `${base}${path}`, source: `${root}${path}` })),
    ];
  });
}
