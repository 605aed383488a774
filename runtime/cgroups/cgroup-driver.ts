import { existsSync, readFileSync } from 'node:fs';
import { attempt, PortcullisError } from '../../base/errors/index.ts';

/**
 * Which program creates cgroups: the OCI runtime itself, or systemd at the runtime's request over D-Bus. A
 * kubelet asks for the driver by RuntimeConfig and names its pods accordingly.
 */
export type CgroupDriver = 'cgroupfs' | 'systemd';

/** The cgroup that holds the processes of one container. */
export interface ContainerCgroup {
  /** Relative to the root of the hierarchy. It is the same below each controller of version 1. */
  readonly path: string;
  /**
   * The value in the OCI specification (config-linux.md#cgroups-path; crun and runc: `SLICE:PREFIX:NAME` for
   * systemd).
   */
  readonly specPath: string;
  /** Whether the runtime must be asked to use systemd (`--systemd-cgroup`). */
  readonly systemd: boolean;
}

const prefix = 'portcullis';
/** The maximum length of a unit's name (systemd.unit(5)), and of a folder's name. */
const longest = 255;
const slice = '.slice';
/** The name of a container's cgroup under either driver, as {@link containerCgroup} gives it. */
const containerName = new RegExp(`^(?:${prefix}-)?([0-9a-f]{64})(?:\\.scope)?$`);
/**
 * The characters of systemd.unit(5) without `:` and `@`: `:` separates the components of a runtime's cgroups
 * path, and `@` makes a template.
 */
const sliceName = /^[A-Za-z0-9_.\\]+(-[A-Za-z0-9_.\\]+)*$/;

/** Resolves `auto`: returns the systemd driver where systemd is process 1, as kubeadm expects. */
export function cgroupDriver(configured: CgroupDriver | 'auto'): CgroupDriver {
  return configured !== 'auto' ? configured : runsSystemd() ? 'systemd' : 'cgroupfs';
}

/**
 * Reports whether systemd is process 1. Checks sd_booted(3) and the process itself, because /run may belong
 * to another namespace.
 */
export function runsSystemd(): boolean {
  if (!existsSync('/run/systemd/system')) return false;
  return attempt(() => readFileSync('/proc/1/comm', 'utf8').trim() === 'systemd') ?? false;
}

/**
 * Returns the folder of a slice, relative to the root of the hierarchy. Each dash is a level
 * (systemd.slice(5)): `a-b.slice` is /a.slice/a-b.slice.
 * @returns undefined if the name is not the name of a slice
 */
export function expandSlice(name: string): string | undefined {
  if (name.length > longest || !name.endsWith(slice)) return undefined;
  const stem = name.slice(0, -slice.length);
  if (stem === '-') return '/';
  if (!sliceName.test(stem)) return undefined;
  const parts = stem.split('-');
  return parts.map((_, index) => `/${parts.slice(0, index + 1).join('-')}${slice}`).join('');
}

/**
 * Returns the cgroup of a pod, relative to the root of the hierarchy: the requested cgroup, or else a cgroup
 * of the daemon.
 * @param asked LinuxPodSandboxConfig.cgroup_parent: a path, or for systemd a slice or the path of a slice
 * @throws PortcullisError RUNTIME_BAD_CGROUP_PARENT when it is not such a path, or belongs to the other
 * driver
 */
export function podCgroup(driver: CgroupDriver, asked: string, sandboxId: string): string {
  const parts = asked.split('/').filter((part) => part !== '' && part !== '.');
  const last = parts.at(-1) ?? '';
  if (asked === '')
    return driver === 'systemd'
      ? `/${prefix}${slice}/${prefix}-${sandboxId}${slice}`
      : `/${prefix}/${sandboxId}`;
  // The path is joined to the folder of every hierarchy, and folders are created and removed below it.
  if (parts.includes('..')) throw badParent(asked, 'it contains ".."', 'use a path without ".."');
  if (
    /[\0-\x1f\x7f]/.test(asked) ||
    asked.length > 4_000 ||
    parts.some((part) => Buffer.byteLength(part) > longest)
  )
    throw badParent(asked, 'it contains control characters or is too long', 'use the path of a cgroup');
  if (driver === 'cgroupfs') {
    if (!last.endsWith(slice)) return `/${parts.join('/')}`;
    throw badParent(
      asked,
      'it is a slice of systemd, and this daemon uses the cgroup driver cgroupfs',
      'set `cgroupDriver: cgroupfs` in the kubelet (or let it ask: KubeletCgroupDriverFromCRI), or `cgroupDriver: systemd` here',
    );
  }
  const path = expandSlice(last);
  if (path !== undefined && path !== '/') return path;
  throw badParent(
    asked,
    last.endsWith(slice) && path === undefined
      ? 'this is not a valid name of a systemd slice'
      : 'it is not a slice, and this daemon uses the cgroup driver systemd',
    'set `cgroupDriver: systemd` in the kubelet (or let it ask: KubeletCgroupDriverFromCRI), or `cgroupDriver: cgroupfs` here; a slice has a name such as kubepods-burstable.slice',
  );
}

/**
 * Returns the cgroup of a container. No other code decides this. The pod's path shows which driver created
 * it, because it outlives a change of the configuration.
 */
export function containerCgroup(podPath: string, containerId: string): ContainerCgroup {
  const unit = podPath.split('/').at(-1) ?? '';
  if (!unit.endsWith(slice)) {
    const path = `${podPath === '/' ? '' : podPath}/${containerId}`;
    return { path, specPath: path, systemd: false };
  }
  return {
    path: `${podPath}/${prefix}-${containerId}.scope`,
    specPath: `${unit}:${prefix}:${containerId}`,
    systemd: true,
  };
}

/** Returns the id of the container whose cgroup has this name; undefined: it is not the name of one. */
export function containerIdIn(name: string): string | undefined {
  return containerName.exec(name)?.[1];
}

/**
 * Returns the cgroup that holds a container's processes and limits. This is the container's own cgroup. For
 * crun under systemd it is a cgroup below that, which systemd does not manage. Source: crun.1,
 * "run.oci.systemd.subgroup".
 * @param kind of the runtime
 */
export function processCgroup({ path, systemd }: ContainerCgroup, kind: string | undefined): string {
  return systemd && kind === 'crun' ? `${path}/container` : path;
}

/**
 * Annotations of a specification that both runtimes read when systemd creates the cgroup. With them, systemd
 * also forgets a unit that failed (out of memory). Source: runc docs/systemd.md, "Auxiliary properties";
 * crun.1, "org.systemd.property".
 */
export const systemdAnnotations: Readonly<Record<string, string>> = {
  'org.systemd.property.CollectMode': "'inactive-or-failed'",
};

function badParent(asked: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_BAD_CGROUP_PARENT',
    kind: 'invalid',
    attempted: 'run pod sandbox below cgroup',
    on: JSON.stringify(asked.slice(0, 300)),
    why,
    fix,
  });
}
