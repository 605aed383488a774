import { PortcullisError } from '../../../base/errors/index.ts';
import { holdsDevice } from '../../../entitlements/index.ts';
import type { Ceiling } from '../../../entitlements/index.ts';

/**
 * The resources of the host that a container requests beyond its own namespaces, resolved. Every part is
 * checked against the ceilings.
 */
export interface HostAccess {
  /** Devices as requested. */
  readonly devices: readonly string[];
  /** The device nodes behind them, and the requested access to each. */
  readonly nodes: readonly {
    readonly type: string;
    readonly major: number;
    readonly minor: number;
    readonly access: string;
  }[];
  /** CDI devices as requested: their specs may add devices, mounts and programs that run on the host. */
  readonly cdi: readonly string[];
  /** OCI hooks that plugins of the node added: programs that run on the host. */
  readonly hooks?: readonly string[];
  /** Sources of bind mounts that are not the pod's own, with links followed. */
  readonly paths: readonly string[];
  /** Sources of bind mounts whose mounts would be visible on the host. */
  readonly sharedPaths: readonly string[];
}

/**
 * Refuses a request that exceeds a ceiling. Devices need host.devices.admin, or a grant for each device;
 * hooks need host.devices.admin, as CDI devices do; paths need host.paths; mounts that propagate to the host
 * need a ceiling for privileged containers. Source: Pod Security Standards, baseline: HostPath Volumes are
 * forbidden.
 * @throws PortcullisError RUNTIME_DEVICE_NOT_GRANTED, RUNTIME_HOOK_NOT_GRANTED, RUNTIME_HOST_PATH_NOT_GRANTED
 */
export function boundHostAccess(asked: HostAccess, ceilings: readonly Ceiling[]): void {
  const devices = [...asked.devices, ...asked.cdi];
  const holds = ({ profile }: Ceiling): boolean =>
    profile.hostDevices ||
    (asked.cdi.length === 0 && asked.nodes.every((node) => holdsDevice(profile, node)));
  const noDevices = ceilings.filter((ceiling) => !holds(ceiling)).map(({ name }) => name);
  if (devices.length > 0 && noDevices.length > 0) {
    throw refusal(
      'RUNTIME_DEVICE_NOT_GRANTED',
      'add host device',
      devices,
      noDevices,
      'devices of the host (host.devices.admin, or host.device for a single device)',
    );
  }
  const noHooks = ceilings.filter(({ profile }) => !profile.hostDevices).map(({ name }) => name);
  const hooks = asked.hooks ?? [];
  if (hooks.length > 0 && noHooks.length > 0)
    throw refusal(
      'RUNTIME_HOOK_NOT_GRANTED',
      'add OCI hook',
      hooks,
      noHooks,
      'programs that run on the host for the container (host.devices.admin)',
    );
  const noPaths = ceilings.filter(({ profile }) => !profile.hostPaths).map(({ name }) => name);
  if (asked.paths.length > 0 && noPaths.length > 0)
    throw refusal(
      'RUNTIME_HOST_PATH_NOT_GRANTED',
      'mount host path',
      asked.paths,
      noPaths,
      'paths of the host (host.paths)',
    );
  const notPrivileged = ceilings.filter((ceiling) => !isForPrivileged(ceiling)).map(({ name }) => name);
  if (asked.sharedPaths.length > 0 && notPrivileged.length > 0) {
    const what = 'mounts that are visible on the host (privileged)';
    throw refusal(
      'RUNTIME_HOST_PATH_NOT_GRANTED',
      'mount with bidirectional propagation',
      asked.sharedPaths,
      notPrivileged,
      what,
    );
  }
}

/**
 * Whether a ceiling allows what `privileged` means: no filter of system calls, and writable kernel settings.
 */
export function isForPrivileged({ profile }: Ceiling): boolean {
  return !profile.syscalls.filtered && profile.writableSys;
}

function refusal(
  code: string,
  attempted: string,
  things: readonly string[],
  ceilings: readonly string[],
  what: string,
): PortcullisError {
  const shown = things.slice(0, 8).join(', ');
  return new PortcullisError({
    code,
    kind: 'denied',
    attempted,
    on: things.length > 8 ? `${shown} and ${things.length - 8} more` : shown,
    why: `the ceiling ${ceilings.join(', ')} does not allow ${what}`,
    fix: 'remove it from the container, or set a ceiling that allows it in the policy rule that admits this image',
    details: { refused: things.slice(0, 100), ceilings },
  });
}
