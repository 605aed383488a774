import { readFileSync } from 'node:fs';
import { closeFd, openNamespaceRoot } from '../../base/kernel/index.ts';
import { PortcullisError, isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { openAdvisories } from './advisories.ts';
import { checkLauncher, launcherOf } from './launcher-name.ts';
import { parseMountinfo } from './mountinfo.ts';
import type { RuntimeHandler } from './runtime-handler.ts';
import type { OciSpec } from './spec.types.ts';
import { checkWorkingDir } from './working-dir.ts';

/** What a command meets in its container, and what must be as it was when the container was created. Plain data. */
export interface CommandPlace {
  readonly cwd: string;
  /** The launcher's file on the host, where Landlock holds the container's files. */
  readonly launcher?: string;
}

export function commandPlace(spec: Pick<OciSpec, 'mounts' | 'process'>): CommandPlace {
  const launcher = launcherOf(spec);
  return { cwd: spec.process.cwd, ...(launcher !== undefined && { launcher }) };
}

/**
 * Checks, just before a command is started, that the container has not changed what the command depends on. Not for runtimes whose first
 * process is not in the container (a virtual machine, a kernel in user space): the host does not see what is mounted there.
 * @throws PortcullisError RUNTIME_LAUNCHER_REPLACED, RUNTIME_BAD_WORKING_DIR; RUNTIME_CONTAINER_ROOT_UNKNOWN
 */
export async function checkCommandPlace(
  target: { readonly id: string; readonly init: number; readonly handler: Pick<RuntimeHandler, 'kind' | 'version'> },
  place: CommandPlace,
): Promise<void> {
  if (place.launcher === undefined && (place.cwd === '/' || target.handler.kind === 'other')) return;
  const root = openRoot(target.init, target.id);
  try {
    if (place.launcher !== undefined) checkLauncher(root.fd, place.launcher, target.id);
    const isLocal = (): boolean => root.isOwnRoot && hasOnlyLocalMounts(target.init);
    await checkWorkingDir({
      root: root.fd,
      cwd: place.cwd,
      container: target.id,
      isLocal,
      runtimeChecks: checksWorkingDir(target.handler),
    });
  } finally {
    closeFd(root.fd);
  }
}

/**
 * Whether no flaw is known by which a working directory leads this runtime to the host. crun never had it, and from 1.14.1 on verifies the folder
 * that it has entered, as runc does from 1.1.12 on. A fix that a distribution backported is not seen.
 */
function checksWorkingDir({ kind, version }: Pick<RuntimeHandler, 'kind' | 'version'>): boolean {
  return kind !== 'other' && openAdvisories(kind, version, () => false).every(({ cve }) => cve !== 'CVE-2024-21626');
}

function openRoot(pid: number, container: string): ReturnType<typeof openNamespaceRoot> {
  try {
    return openNamespaceRoot(pid);
  } catch (thrown) {
    if (!isPortcullisError(thrown)) throw thrown;
    throw new PortcullisError({
      code: 'RUNTIME_CONTAINER_ROOT_UNKNOWN',
      kind: 'precondition',
      attempted: 'look at the root of container',
      on: container.slice(0, 13),
      why: reasonOf(thrown),
      fix: 'see whether its first process still runs',
      cause: thrown,
    });
  }
}

/** File systems whose lookups depend on this machine alone: neither on another host nor on a process. */
const local = new Set([
  ...['bcachefs', 'btrfs', 'erofs', 'ext2', 'ext3', 'ext4', 'f2fs', 'iso9660', 'overlay', 'squashfs', 'vfat', 'xfs', 'zfs'],
  ...['cgroup', 'cgroup2', 'devpts', 'devtmpfs', 'hugetlbfs', 'mqueue', 'proc', 'ramfs', 'sysfs', 'tmpfs'],
]);

function hasOnlyLocalMounts(pid: number): boolean {
  const lines = parseMountinfo(readFileSync(`/proc/${pid}/mountinfo`, 'utf8'));
  return lines.length > 0 && lines.every(({ fstype }) => local.has(fstype));
}
