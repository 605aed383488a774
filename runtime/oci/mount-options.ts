import { PortcullisError } from '../../base/errors/index.ts';

/**
 * What a caller may add to a bind mount (cri-api 0.37, Mount.mount_options): options that only take away. One that gives (`exec`, `dev`,
 * `suid`) could undo what the host's administrator set on the source, and any other is one that the contract does not name.
 */
const allowed: ReadonlySet<string> = new Set(['noexec', 'nodev', 'nosuid', 'noatime', 'nodiratime', 'relatime', 'strictatime']);

/** What RuntimeFeatures.mount_options tells: the options above are put on the mount, every other is refused. */
export const mountOptionsSupported = true;

/**
 * The options as the OCI runtime takes them, each once.
 * @throws PortcullisError RUNTIME_BAD_MOUNT
 */
export function checkedMountOptions(options: readonly string[], destination: string): string[] {
  const refused = options.filter((option) => !allowed.has(option));
  if (refused.length === 0) return [...new Set(options)];
  throw new PortcullisError({
    code: 'RUNTIME_BAD_MOUNT',
    kind: 'invalid',
    attempted: 'mount',
    on: destination,
    why: `mount_options holds ${refused
      .slice(0, 8)
      .map((option) => JSON.stringify(option.slice(0, 64)))
      .join(', ')}`,
    fix: `use ${[...allowed].join(', ')}`,
  });
}
