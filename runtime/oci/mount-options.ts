import { PortcullisError } from '../../base/errors/index.ts';

/**
 * Options that a caller may add to a bind mount (cri-api 0.37, Mount.mount_options). All of them only
 * restrict. An option that permits something (`exec`, `dev`, `suid`) could undo a restriction that the host's
 * administrator set on the source, and the contract names no others.
 */
export const restrictingMountOptions: ReadonlySet<string> = new Set([
  'noexec',
  'nodev',
  'nosuid',
  'noatime',
  'nodiratime',
  'relatime',
  'strictatime',
]);

/**
 * The value of RuntimeFeatures.mount_options: the options above are applied to the mount, and all others are
 * refused.
 */
export const mountOptionsSupported = true;

/**
 * Returns the options in the form that the OCI runtime expects, without duplicates.
 * @throws PortcullisError RUNTIME_BAD_MOUNT
 */
export function checkedMountOptions(options: readonly string[], destination: string): string[] {
  const refused = options.filter((option) => !restrictingMountOptions.has(option));
  if (refused.length === 0) return [...new Set(options)];
  throw new PortcullisError({
    code: 'RUNTIME_BAD_MOUNT',
    kind: 'invalid',
    attempted: 'mount',
    on: destination,
    why: `mount_options contains ${refused
      .slice(0, 8)
      .map((option) => JSON.stringify(option.slice(0, 64)))
      .join(', ')}`,
    fix: `use ${[...restrictingMountOptions].join(', ')}`,
  });
}
