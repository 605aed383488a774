import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { O_DIRECTORY, O_PATH, closeFd, openFile } from '../../base/kernel/index.ts';
import { hasNoAnswer, isOf } from '../host-paths/host-paths.ts';
import type { HostPaths } from '../host-paths/host-paths.ts';
import { isAtOrBelow } from '../container-mounts/at-or-below.ts';
import { cleanContainerPath, openContainerPaths } from './container-path.ts';
import type { ContainerPaths, ResolvedPath } from './container-path.ts';
import { launcherPath } from '../container-mounts/launcher-name.ts';
import type { OciDevice, OciMount, OciSpec } from './spec.types.ts';
import { badWorkingDir } from '../container-mounts/working-dir.ts';

type DestinationPaths = Pick<HostPaths, 'facts' | 'ownFacts' | 'linkTarget'>;

/**
 * Mounts whose path another container could change while the runtime creates them. They have to be checked
 * again afterwards.
 */
export interface CheckedPlaces {
  readonly throughVolumes: readonly string[];
}

/**
 * Folders to which links of the image lead and which do not exist. crun 1.8.1 cannot mount behind such a
 * link, runc creates the folder.
 */
export interface MissingFolders {
  readonly missing: readonly string[];
}

/** Mounts that links lead to another place, each with this place as its destination. */
export interface LinkedMounts {
  readonly linked: readonly OciMount[];
}

/**
 * Resolves every destination of a container, and its working directory, as the runtime will: through links of
 * the image and of volumes. Refuses a path that leads to /dev, /proc or /sys, because a runtime trusts those
 * to be the kernel's. A volume at /dev whose `null` is a link leaves masked files readable (CVE-2025-31133),
 * and a volume at /proc receives the writes that set labels (CVE-2025-52881).
 *
 * Without `privileged` these are still allowed: /dev/shm, /dev/hugepages, single files, sockets and devices
 * below /dev (a kubelet's termination log, /dev/log), and folders of the host's own /dev. None of them may
 * have a name that the runtime uses, except that the host's random devices may replace each other.
 * @param input.rootfs the merged tree; no process runs in it yet
 * @param input.launcher the file that is mounted at the launcher's own name
 * @param input.privileged whether every ceiling includes `privileged`
 * @throws PortcullisError RUNTIME_DESTINATION_NOT_GRANTED (kind denied), RUNTIME_BAD_MOUNT,
 * RUNTIME_BAD_WORKING_DIR
 */
export async function checkDestinations(input: {
  readonly spec: Pick<OciSpec, 'mounts' | 'linux' | 'process'>;
  readonly rootfs: string;
  readonly launcher: string | undefined;
  readonly privileged: boolean;
  readonly container: string;
  readonly paths: DestinationPaths;
}): Promise<CheckedPlaces & LinkedMounts & MissingFolders> {
  const { spec, rootfs, privileged, launcher } = input;
  using opened = new DisposableStack();
  const fd = opened.adopt(openFile(rootfs, O_PATH | O_DIRECTORY), closeFd);
  const paths = openContainerPaths({ fd, path: rootfs }, input.paths);
  const throughVolumes: string[] = [];
  const missing: string[] = [];
  const linked: OciMount[] = [];
  for (const mount of spec.mounts) {
    const own = isRuntimes(mount) || (mount.destination === launcherPath && mount.source === launcher);
    const { path, through, throughVolume, dangling } = own
      ? asWritten(mount)
      : await resolved(paths, mount.destination);
    if (!own) {
      const reserved = reservedPlace(path);
      if (reserved !== undefined) throw badMount(mount.destination, reserved);
      if (!privileged && !(await isHarmless(path, through, mount, input.paths)))
        throw notGranted('mount at', mount.destination, path, through);
      if (throughVolume) throughVolumes.push(path);
      if (path !== cleanContainerPath(mount.destination)) linked.push({ ...mount, destination: path });
      if (dangling !== undefined && (dangling !== path || (await isFolder(mount, input.paths))))
        missing.push(dangling);
    }
    paths.place({ at: path, ...(mount.type === 'bind' && { source: mount.source }) });
  }
  for (const device of privileged ? [] : spec.linux.devices) {
    const { path, through } = await resolved(paths, device.path);
    if (through.size > 0 || !isHarmlessDevice(path, device))
      throw notGranted('add device at', device.path, path, through);
  }
  await checkCwd(paths, spec.process.cwd, input.container);
  return { throughVolumes, missing, linked };
}

async function checkCwd(paths: ContainerPaths, cwd: string, container: string): Promise<void> {
  const { path, through } = await paths.resolve(cwd).catch((thrown: unknown) => {
    if (hasNoAnswer(thrown)) throw thrown;
    throw badWorkingDir(container, cwd, reasonOf(thrown));
  });
  if (through.has('/proc')) throw badWorkingDir(container, cwd, `it leads through /proc, to ${path}`);
}

async function resolved(paths: ContainerPaths, destination: string): Promise<ResolvedPath> {
  return paths.resolve(destination).catch((thrown: unknown) => {
    if (hasNoAnswer(thrown)) throw thrown;
    throw badMount(destination, `the path in the container cannot be followed: ${reasonOf(thrown)}`);
  });
}

/**
 * Kernel file systems that every container has. The image contains no link at these paths: that is checked
 * when its root is mounted.
 */
const kernelMounts: ReadonlyMap<string, string> = new Map([
  ['/proc', 'proc'],
  ['/dev', 'tmpfs'],
  ['/dev/pts', 'devpts'],
  ['/dev/mqueue', 'mqueue'],
  ['/sys', 'sysfs'],
  ['/sys/fs/cgroup', 'cgroup'],
]);

function isRuntimes({ destination, type }: OciMount): boolean {
  return kernelMounts.get(destination) === type;
}

function asWritten({ destination }: OciMount): ResolvedPath {
  return { path: destination, through: new Set(), throughVolume: false };
}

/** Returns why no mount is allowed at `path`, whatever a ceiling allows. */
function reservedPlace(path: string): string | undefined {
  if (path === '/')
    return 'it leads to the root of the container, and would hide all mounts in the container';
  return isAtOrBelow(path, launcherPath)
    ? `it leads to ${launcherPath}, where the runtime mounts the program that sets up Landlock`
    : undefined;
}

/**
 * Entries that a runtime creates in /dev or takes from it: devices, links and file systems (runtime-spec
 * config-linux.md).
 */
const runtimesNames: ReadonlySet<string> = new Set([
  ...[
    'console',
    'core',
    'fd',
    'full',
    'mqueue',
    'null',
    'ptmx',
    'pts',
    'random',
    'stderr',
    'stdin',
    'stdout',
    'tty',
    'urandom',
    'zero',
  ],
]);

async function isHarmless(
  path: string,
  through: ReadonlySet<string>,
  mount: OciMount,
  paths: DestinationPaths,
): Promise<boolean> {
  if (through.size > 0) return false;
  if (!isAtOrBelow(path, '/dev')) return true;
  if (isAtOrBelow(path, '/dev/shm') || /^\/dev\/hugepages[^/]*$/.test(path)) return true;
  if (randomDevices.has(path)) return mount.type === 'bind' && isRandomDevice(mount.source, paths);
  if (path === '/dev' || runtimesNames.has(path.split('/')[2] ?? '') || mount.type !== 'bind') return false;
  // The source is already resolved, so a link in a volume cannot pretend to be a folder of the host.
  if (isAtOrBelow(mount.source, '/dev') && mount.source !== '/dev') return true;
  return !(await isFolder(mount, paths));
}

/** A missing source will be created as a folder. */
async function isFolder(mount: OciMount, paths: DestinationPaths): Promise<boolean> {
  if (mount.type !== 'bind') return true;
  return paths.facts(mount.source).then(
    (facts) => isOf(facts, 'folder'),
    (thrown: unknown) => !notThere(thrown),
  );
}

/**
 * These devices are interchangeable: both return the kernel's random numbers, and no runtime uses them for
 * anything else.
 */
const randomDevices: ReadonlySet<string> = new Set(['/dev/random', '/dev/urandom']);

/**
 * Checks the name as well as the device numbers: no tenant can replace a device of that name before it is
 * mounted.
 */
async function isRandomDevice(source: string, paths: DestinationPaths): Promise<boolean> {
  if (!randomDevices.has(source)) return false;
  return paths.ownFacts(source).then(
    // The device numbers of mem(4).
    (facts) => isOf(facts, 'character') && facts.major === 1 && (facts.minor === 8 || facts.minor === 9),
    notThere,
  );
}

function notThere(thrown: unknown): false {
  if (hasNoAnswer(thrown)) throw thrown;
  return false;
}

/** The numbers of devices that every container has (runtime-spec config-linux.md, "Default Devices"). */
const standardDevices: ReadonlyMap<string, string> = new Map([
  ['null', 'c 1:3'],
  ['zero', 'c 1:5'],
  ['full', 'c 1:7'],
  ['random', 'c 1:8'],
  ['urandom', 'c 1:9'],
  ['tty', 'c 5:0'],
  ['console', 'c 5:1'],
  ['ptmx', 'c 5:2'],
]);

function isHarmlessDevice(path: string, { type, major, minor }: OciDevice): boolean {
  if (path === '/dev' || path === '/' || isAtOrBelow(path, launcherPath)) return false;
  if (randomDevices.has(path) && type === 'c' && major === 1 && (minor === 8 || minor === 9)) return true;
  const name = isAtOrBelow(path, '/dev') ? (path.split('/')[2] ?? '') : '';
  return (
    !runtimesNames.has(name) ||
    standardDevices.get(path.slice('/dev/'.length)) === `${type} ${major}:${minor}`
  );
}

function notGranted(
  attempted: string,
  destination: string,
  path: string,
  through: ReadonlySet<string>,
): PortcullisError {
  const way =
    through.size > 0 && ![...through].some((folder) => isAtOrBelow(path, folder))
      ? ` through ${[...through].join(' and ')}`
      : '';
  return new PortcullisError({
    code: 'RUNTIME_DESTINATION_NOT_GRANTED',
    kind: 'denied',
    attempted,
    on: destination.slice(0, 512),
    why: `it leads to ${path.slice(0, 512)}${way}, where a runtime relies on the files of the kernel, and no ceiling for privileged containers allows it`,
    fix: 'mount it elsewhere, or set a ceiling that contains `privileged` in the policy rule that admits this image',
    details: { destination: destination.slice(0, 512), path: path.slice(0, 512) },
  });
}

function badMount(on: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_BAD_MOUNT',
    kind: 'invalid',
    attempted: 'mount',
    on: on.slice(0, 512),
    why,
    fix: 'give a path of the container that exists or can be created',
  });
}
