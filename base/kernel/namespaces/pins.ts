import { mkdirSync, rmdirSync, unlinkSync } from 'node:fs';
import { errnoOf } from '../../errors/index.ts';
import { isErrno, kernelError } from '../ffi/errno.ts';
import { closeFd, openFile } from '../files/files.ts';
import { mount, umount } from '../mounts/mount.ts';
import { inNamespaces, inNewNamespaces, namespaceFlags, sethostname } from './namespaces.ts';
import type { NamespaceFds, NamespaceType } from './namespaces.ts';
import { raiseLoopback } from '../sockets/netdevice.ts';
import { checkSysctls, writeSysctls } from './sysctl.ts';
import {
  MNT_DETACH,
  MS_BIND,
  O_CREAT,
  O_EXCL,
  O_NOFOLLOW,
  O_RDONLY,
  UMOUNT_NOFOLLOW,
} from '../ffi/constants.ts';

/** Namespaces held by bind mounts at `<dir>/<type>`, so that they exist without a process. */
export interface PinnedNamespaces {
  /** A folder of this pod alone. Created (0700) if absent, removed by unpin. */
  readonly dir: string;
  readonly types: readonly NamespaceType[];
  /** Only with the type `uts`. */
  readonly hostname?: string;
  /** Sysctls of these namespaces by name. Any other name is refused, because it would change the host. */
  readonly sysctls: Readonly<Record<string, string>>;
}

const pinTypes = Object.keys(namespaceFlags) as NamespaceType[];
/**
 * This namespace is pinned but none of our threads ever enters it: the kernel lets no process with several
 * threads join another user namespace.
 */
const userPin = 'user';

/**
 * Creates the namespaces, brings `lo` up, sets host name and sysctls, and pins each. A failure leaves nothing
 * behind. EEXIST if a pin (or its leftover file) exists. The pins' parent keeps its propagation; the targets
 * are plain files. Runs in a Worker.
 */
export function pinNamespaces(input: PinnedNamespaces): void {
  withPinFiles(input, input.types, () =>
    inNewNamespaces(input.types, () => {
      configure(input);
      for (const type of input.types)
        mount(`/proc/thread-self/ns/${type}`, `${input.dir}/${type}`, 'none', MS_BIND);
    }),
  );
}

/**
 * Does the same as {@link pinNamespaces} with the namespaces of a process, and pins its user namespace at
 * `<dir>/user`. The user namespace owns the others if they were created with it (user_namespaces(7)). The
 * process may end afterwards. The caller holds the process, so that the pid of another process is never
 * pinned.
 */
export function pinNamespacesOf(pid: number, input: PinnedNamespaces): void {
  const all = [...input.types, userPin];
  withPinFiles(input, all, () => {
    for (const type of all) mount(`/proc/${pid}/ns/${type}`, `${input.dir}/${type}`, 'none', MS_BIND);
    configureNamespaces(input);
  });
}

/**
 * Creates the folder and the files that pins are mounted on, before anything is pinned. Removes all of it if
 * `pin` fails.
 */
function withPinFiles(input: PinnedNamespaces, names: readonly string[], pin: () => void): void {
  check(input);
  makePinFolder(input.dir);
  const made: string[] = [];
  try {
    for (const name of names) {
      const path = `${input.dir}/${name}`;
      closeFd(openFile(path, O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600));
      made.push(path);
    }
    pin();
  } catch (error) {
    undo(made, input.dir);
    throw error;
  }
}

/** Node's own recursive mkdir reports ENOENT for a read-only file system. */
function makePinFolder(dir: string): void {
  try {
    mkdirSync(dir, { mode: 0o700 });
  } catch (error) {
    const code = errnoOf(error) ?? 'EIO';
    if (code === 'ENOENT') mkdirSync(dir, { recursive: true, mode: 0o700 });
    else if (code !== 'EEXIST') throw kernelError(code, 'mkdir', dir);
  }
}

/**
 * Enters pinned namespaces and sets host name and sysctls: the remaining steps for a pod from the pool. Runs
 * in a Worker.
 */
export function configureNamespaces(input: PinnedNamespaces): void {
  check(input);
  const fds: { -readonly [Type in keyof NamespaceFds]: number } = {};
  try {
    for (const type of input.types) fds[type] = openFile(`${input.dir}/${type}`, O_RDONLY | O_NOFOLLOW);
    inNamespaces(fds, () => configure(input));
  } finally {
    Object.values(fds).forEach(closeFd);
  }
}

/**
 * Releases the namespaces of `dir` and removes the folder. Succeeds if parts of it do not exist. Runs in a
 * Worker.
 * @throws PortcullisError if a mount or the folder cannot be removed
 */
export function unpinNamespaces(dir: string): void {
  for (const type of [...pinTypes, userPin]) removePin(`${dir}/${type}`);
  try {
    rmdirSync(dir);
  } catch (error) {
    const code = errnoOf(error) ?? 'EIO';
    if (code !== 'ENOENT') throw kernelError(code, 'rmdir', dir);
  }
}

function check({ dir, types, hostname, sysctls }: PinnedNamespaces): void {
  if (
    types.length === 0 ||
    types.some((type) => !pinTypes.includes(type)) ||
    new Set(types).size !== types.length
  ) {
    throw kernelError(
      'EINVAL',
      'pin namespaces',
      dir,
      `the types must be some of ${pinTypes.join(', ')}, each once`,
    );
  }
  if (hostname !== undefined && !types.includes('uts')) {
    throw kernelError(
      'EINVAL',
      'pin namespaces',
      dir,
      'a host name needs a uts namespace; without it the host would be renamed',
    );
  }
  checkSysctls(sysctls, types);
}

function configure({ types, hostname, sysctls }: PinnedNamespaces): void {
  if (types.includes('net')) raiseLoopback();
  if (hostname !== undefined) sethostname(hostname);
  writeSysctls(sysctls);
}

/** Unmounts everything at a pin and removes its file. */
function removePin(path: string): void {
  for (;;) {
    try {
      umount(path, MNT_DETACH | UMOUNT_NOFOLLOW);
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ENOTDIR')) return;
      if (isErrno(error, 'EINVAL')) break;
      throw error;
    }
  }
  try {
    unlinkSync(path);
  } catch (error) {
    const code = errnoOf(error) ?? 'EIO';
    if (code !== 'ENOENT') throw kernelError(code, 'unlink', path);
  }
}

/** Reverts a failed pin as far as possible. The original error says more than an error from here. */
function undo(paths: readonly string[], dir: string): void {
  try {
    paths.forEach(removePin);
    rmdirSync(dir);
  } catch {
    // The folder contains something that is not ours, such as an older pin.
  }
}
