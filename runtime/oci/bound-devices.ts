import type { OciSpec } from './spec.types.ts';

/**
 * Returns the spec with mounts in place of the devices that have another path on the host. In a user
 * namespace, runc creates no devices: it binds what the host has at the path that the device has in the
 * container, which is nothing, or another device. Pure.
 * @param devices each with the path, without links, at which the host has it; undefined: it has none
 */
export function withBoundDevices(
  spec: OciSpec,
  devices: readonly { readonly node: { readonly path: string }; readonly source?: string | undefined }[],
): OciSpec {
  const sources = new Map(devices.map(({ node, source }) => [node.path, source]));
  const bound = spec.linux.devices.flatMap(({ path }) => {
    const source = sources.get(path);
    return source === undefined || source === path ? [] : [{ path, source }];
  });
  if (bound.length === 0) return spec;
  const paths = new Set(bound.map(({ path }) => path));
  return {
    ...spec,
    mounts: [
      ...spec.mounts,
      ...bound.map(({ path, source }) => ({
        destination: path,
        type: 'bind',
        source,
        options: ['bind', 'rprivate', 'nosuid', 'noexec'],
      })),
    ],
    linux: { ...spec.linux, devices: spec.linux.devices.filter(({ path }) => !paths.has(path)) },
  };
}
