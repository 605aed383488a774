import { readFile } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';
import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { MountPropagation } from '../cri/contract/contract.types.ts';
import type { Mount } from '../cri/contract/contract.types.ts';
import { hasNoAnswer } from '../host-paths/host-paths.ts';
import type { HostPaths } from '../host-paths/host-paths.ts';
import { badMount } from '../container-mounts/bad-mount.ts';

/** A bind mount whose source is followed through every symbolic link. */
export interface MountSource {
  readonly mount: Mount;
  /** The real path of the source, or the path that it would have. */
  readonly path: string;
  readonly missing: boolean;
}

/** More than any pod has; each costs the kernel a mount. */
const mountLimit = 4096;

/**
 * Follows the sources of bind mounts, as cri-api requires (Mount.host_path): the destination of a link is
 * mounted, and is checked against the ceilings. Changes nothing.
 * @throws PortcullisError RUNTIME_BAD_MOUNT, RUNTIME_PATH_NO_ANSWER
 */
export async function resolveSources(
  mounts: readonly Mount[],
  paths: Pick<HostPaths, 'facts'>,
): Promise<readonly MountSource[]> {
  if (mounts.length > mountLimit)
    throw badMount('', `it requests ${mounts.length} mounts`, `request ${mountLimit} at most`);
  return Promise.all(
    mounts.map(async (mount) => {
      const { hostPath, containerPath } = mount;
      if (!hostPath.startsWith('/') || hostPath.includes('\0'))
        throw badMount(
          containerPath,
          `the host path ${JSON.stringify(hostPath)} is not absolute`,
          'give an absolute host path',
        );
      return { mount, ...(await resolved(hostPath, containerPath, paths)) };
    }),
  );
}

/**
 * Returns the real path. If the path is missing, returns the real path of the part that exists, and the rest
 * as written.
 */
async function resolved(
  path: string,
  destination: string,
  paths: Pick<HostPaths, 'facts'>,
): Promise<{ readonly path: string; readonly missing: boolean }> {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  for (let have = parts.length; have >= 0; have -= 1) {
    const rest = parts.slice(have);
    if (rest.includes('..'))
      throw badMount(
        destination,
        `the host path ${JSON.stringify(path)} leads out of a missing folder`,
        'give a host path without ".."',
      );
    try {
      const { path: real } = await paths.facts('/' + parts.slice(0, have).join('/'));
      return { path: join(real, ...rest), missing: rest.length > 0 };
    } catch (thrown) {
      if (isPortcullisError(thrown)) throw thrown;
      const { code } = thrown as NodeJS.ErrnoException;
      if (code !== 'ENOENT' && code !== 'ENOTDIR')
        throw badMount(
          destination,
          `the host path ${JSON.stringify(path)} cannot be followed (${code ?? ''})`,
          'correct the host path',
        );
    }
  }
  return { path: '/', missing: false };
}

/** Creates a missing source as a folder, as kubelets and other runtimes expect. */
export async function makeMissing(
  sources: readonly MountSource[],
  paths: Pick<HostPaths, 'makeFolder'>,
): Promise<void> {
  for (const { path, mount } of sources.filter((source) => source.missing)) {
    try {
      await paths.makeFolder(path, 0o755);
    } catch (thrown) {
      if (hasNoAnswer(thrown)) throw thrown;
      throw badMount(
        mount.containerPath,
        `the host path ${path} is missing and cannot be created: ${reasonOf(thrown)}`,
        'create it, or correct the host path',
      );
    }
  }
}

/**
 * Checks that the source of a mount with propagation is on a mount that supports this propagation: otherwise
 * the runtime would silently make it private. Source: mount_namespaces(7), optional fields of
 * proc_pid_mountinfo(5).
 * @throws PortcullisError RUNTIME_BAD_MOUNT
 */
export async function checkPropagation(sources: readonly MountSource[], mountinfo?: string): Promise<void> {
  const spreading = sources.filter(({ mount }) => mount.propagation !== MountPropagation.PROPAGATION_PRIVATE);
  if (spreading.length === 0) return;
  const table = mountTable(mountinfo ?? (await readFile('/proc/self/mountinfo', 'utf8')));
  for (const { mount, path } of spreading) {
    const below = mountBelow(table, path);
    const both = mount.propagation === MountPropagation.PROPAGATION_BIDIRECTIONAL;
    if (below === undefined || below.shared || (below.receives && !both)) continue;
    throw badMount(
      mount.containerPath,
      `${path} is mounted on ${below.target}, which is not a shared${both ? '' : ' or slave'} mount, so ${both ? 'bidirectional' : 'host-to-container'} propagation is impossible`,
      `make it shared (mount --make-rshared ${below.target}), or request private propagation`,
    );
  }
}

interface MountEntry {
  readonly target: string;
  readonly shared: boolean;
  readonly receives: boolean;
}

/** Returns the mounts by target; if several mounts have one target, the last one covers the others. */
function mountTable(mountinfo: string): ReadonlyMap<string, MountEntry> {
  const table = new Map<string, MountEntry>();
  for (const line of mountinfo.split('\n')) {
    if (line === '') continue;
    const fields = line.split(' ');
    const optional = fields.slice(6, fields.indexOf('-', 6));
    const target = (fields[4] ?? '/').replaceAll(/\\([0-7]{3})/g, (_all, octal: string) =>
      String.fromCharCode(parseInt(octal, 8)),
    );
    const shared = optional.some((field) => field.startsWith('shared:'));
    const receives = optional.some((field) => field.startsWith('master:'));
    table.set(target, { target, shared, receives });
  }
  return table;
}

/** Returns the mount that contains the path: the deepest one above it, or at it. */
function mountBelow(table: ReadonlyMap<string, MountEntry>, path: string): MountEntry | undefined {
  for (let folder = path; ; folder = dirname(folder)) {
    const found = table.get(folder);
    if (found !== undefined || folder === dirname(folder)) return found;
  }
}

/** Whether `path` is the folder or below it; both paths are clean. */
export function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith('/') ? folder : `${folder}/`);
}

/**
 * Whether the kubelet keeps a source for this very pod (volumes, secrets, termination messages, /etc/hosts).
 * Every other source is a path of the host. A kubelet passes all of them as host paths: `ROOT/pods/UID/…`.
 */
export function isOwnOfPod(path: string, kubeletRoot: string, podUid: string): boolean {
  // With a uid of dots, the folder of all pods would count as the folder of this pod.
  if (podUid === '' || /^\.+$/.test(podUid) || podUid.includes('/')) return false;
  return (
    isWithin(path, normalize(join(kubeletRoot, 'pods', podUid))) && path !== join(kubeletRoot, 'pods', podUid)
  );
}

/** cri-api Mount.image: the mount is an image and not a path of the host. */
export function isImageVolume(mount: Mount): boolean {
  return mount.image !== undefined && (mount.image.image !== '' || mount.hostPath === '');
}
