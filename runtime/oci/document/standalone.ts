import { PortcullisError } from '../../../base/errors/index.ts';
import type { Settings } from '../../../entitlements/index.ts';
import { noFeatures } from '../handler-features.ts';
import { generateSpec } from '../spec.ts';
import type { SpecProcess } from '../spec.ts';
import type { OciMount, OciSpec } from '../spec.types.ts';

/** `rootfs` is absolute, or relative to the bundle. */
export interface StandaloneInput extends SpecProcess {
  readonly settings: Settings;
  /** The runtime that will run it: `crun` or `runc`. */
  readonly runtime: string;
  readonly hostname: string;
}

/** Files that the daemon would create for a pod. Without a pod they do not exist. */
const noPod = {
  shm: '/dev/shm',
  resolvConf: '/etc/resolv.conf',
  hostname: '/etc/hostname',
  hosts: '/etc/hosts',
};
const ownShm: OciMount = {
  destination: '/dev/shm',
  type: 'tmpfs',
  source: 'shm',
  options: ['nosuid', 'noexec', 'nodev', 'mode=1777', 'size=65536k'],
};

/**
 * Returns a configuration for `crun run` or `runc run` in the caller's own folder. The container is confined
 * as a container of the daemon would be, with its own namespaces (or the host's network where the profile's
 * class is `host`). Pure. Source: runtime-spec 1.0.2, config.md.
 * @throws PortcullisError RUNTIME_UNSUPPORTED for file rules that Landlock would enforce, because no program
 * would set them up
 */
export function standaloneSpec(input: StandaloneInput): OciSpec {
  const { settings } = input;
  if (settings.landlock !== undefined) throw noLauncher();
  const shares = (name: 'network' | 'pid' | 'ipc'): boolean => settings.hostNamespaces.includes(name);
  const spec = generateSpec({
    ...input,
    labels: {},
    mounts: [],
    devices: [],
    resources: undefined,
    cgroupsPath: '',
    podFiles: noPod,
    namespaces: {},
    hostPid: shares('pid'),
    cgroups: { namespace: false, writable: settings.writableSys, delegated: false },
    features: noFeatures,
    userNamespace: undefined,
    oomScoreFloor: -1000,
    annotations: {},
  });
  const own = [...(shares('network') ? [] : ['network']), ...(shares('ipc') ? [] : ['ipc']), 'uts'];
  const { cgroupsPath: _none, ...linux } = spec.linux;
  return {
    ...spec,
    hostname: input.hostname,
    mounts: spec.mounts.filter(({ type }) => type !== 'bind').concat(ownShm),
    linux: { ...linux, namespaces: [...spec.linux.namespaces, ...own.map((type) => ({ type }))] },
  };
}

function noLauncher(): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_UNSUPPORTED',
    kind: 'unimplemented',
    attempted: 'write a standalone configuration',
    on: '',
    why: 'without AppArmor, a launcher sets up the rules on files, and only the daemon provides it',
    fix: 'use a profile without rules on files, or a machine with AppArmor',
  });
}
