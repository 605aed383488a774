import { existsSync, readFileSync } from 'node:fs';
import { PortcullisError } from '../../base/errors/index.ts';

/**
 * Who makes cgroups: the OCI runtime by itself, or systemd at the runtime's request over D-Bus. A kubelet asks by RuntimeConfig and
 * names its pods accordingly.
 */
export type CgroupDriver = 'cgroupfs' | 'systemd';

/** Where one container's processes are. */
export interface ContainerCgroup {
  /** From the root of the hierarchy: the same below each controller of version 1. */
  readonly path: string;
  /** What the OCI specification says of it (config-linux.md#cgroups-path; crun and runc: `SLICE:PREFIX:NAME` for systemd). */
  readonly specPath: string;
  /** Whether the runtime must be told to ask systemd (`--systemd-cgroup`). */
  readonly systemd: boolean;
}

const prefix = 'portcullis';
/** A unit's name has 255 characters (systemd.unit(5)); a folder's has as many. */
const longest = 255;
const slice = '.slice';
/** systemd.unit(5) without `:` and `@`: the first ends a part of a runtime's cgroups path, the second makes a template. */
const sliceName = /^[A-Za-z0-9_.\\]+(-[A-Za-z0-9_.\\]+)*$/;

/** What `auto` stands for: systemd's driver where systemd is process 1, as kubeadm expects. */
export function cgroupDriver(configured: CgroupDriver | 'auto'): CgroupDriver {
  return configured !== 'auto' ? configured : runsSystemd() ? 'systemd' : 'cgroupfs';
}

/** Whether systemd is process 1 of what we see (sd_booted(3), and the process itself: /run may be another namespace's). */
export function runsSystemd(): boolean {
  if (!existsSync('/run/systemd/system')) return false;
  try {
    return readFileSync('/proc/1/comm', 'utf8').trim() === 'systemd';
  } catch {
    return false;
  }
}

/**
 * The folder of a slice, from the root of the hierarchy: each dash is a level (systemd.slice(5)). `a-b.slice` is /a.slice/a-b.slice.
 * @returns undefined for what is not a slice's name
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
 * The cgroup of a pod, from the root of the hierarchy: the one that was asked for, else one of our own.
 * @param asked LinuxPodSandboxConfig.cgroup_parent: a path, and for systemd a slice or the path of one
 * @throws PortcullisError RUNTIME_BAD_CGROUP_PARENT when it is no such path, or belongs to the other driver
 */
export function podCgroup(driver: CgroupDriver, asked: string, sandboxId: string): string {
  const parts = asked.split('/').filter((part) => part !== '' && part !== '.');
  const last = parts.at(-1) ?? '';
  if (asked === '') return driver === 'systemd' ? `/${prefix}${slice}/${prefix}-${sandboxId}${slice}` : `/${prefix}/${sandboxId}`;
  // Joined to the folder of every hierarchy, below which folders are made and removed.
  if (parts.includes('..')) throw badParent(asked, 'it climbs out of where it stands', 'give a path without ".."');
  if (/[\0-\x1f\x7f]/.test(asked) || asked.length > 4_000 || parts.some((part) => Buffer.byteLength(part) > longest))
    throw badParent(asked, 'it holds control characters or is too long', 'give the path of a cgroup');
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
      ? 'systemd knows no slice of this name'
      : 'it is not a slice, and this daemon uses the cgroup driver systemd',
    'set `cgroupDriver: systemd` in the kubelet (or let it ask: KubeletCgroupDriverFromCRI), or `cgroupDriver: cgroupfs` here; a slice is called like kubepods-burstable.slice',
  );
}

/** The one place that says where a container is. The pod's path tells the driver that it was made under: it outlives a change of the configuration. */
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

/**
 * The cgroup that has a container's processes and limits: the container's own, but for crun under systemd one below it, which systemd
 * leaves alone. Source: crun.1, "run.oci.systemd.subgroup".
 * @param kind of the runtime
 */
export function processCgroup({ path, systemd }: ContainerCgroup, kind: string | undefined): string {
  return systemd && kind === 'crun' ? `${path}/container` : path;
}

/**
 * What both runtimes read of a specification's annotations when systemd makes the cgroup: a unit that failed (out of memory) is
 * forgotten like any other. Source: runc docs/systemd.md, "Auxiliary properties"; crun.1, "org.systemd.property".
 */
export const systemdAnnotations: Readonly<Record<string, string>> = { 'org.systemd.property.CollectMode': "'inactive-or-failed'" };

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
