import { chmodSync, chownSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { errnoOf } from '../../errors/index.ts';
import { checked, cString, kernelError } from '../ffi/errno.ts';
import { glibc } from '../ffi/libc.ts';
import { closeFd, openFile } from '../files/files.ts';
import { attach, bindMount, mount } from './mount.ts';
import { contextError } from './mount-context.ts';
import { kernelRelease } from '../ffi/release.ts';
import { MS_RDONLY, O_DIRECTORY, O_PATH } from '../ffi/constants.ts';

const c = {
  fsopen: glibc('fsopen', 'int', ['str', 'uint']),
  fsconfig: glibc('fsconfig', 'int', ['int', 'uint', 'str', 'str', 'int']),
  fsmount: glibc('fsmount', 'int', ['int', 'uint', 'uint']),
};

const FSOPEN_CLOEXEC = 1;
const FSCONFIG_SET_STRING = 1;
const FSCONFIG_CMD_CREATE = 6;
const FSMOUNT_CLOEXEC = 1;
const MOUNT_ATTR_RDONLY = 1;
/** fsconfig(2) accepts strings of 255 bytes. A longer path is passed through the descriptor of its folder. */
const FSCONFIG_STRING_LIMIT = 255;
/** mount(2) reads one page, including its closing NUL. */
const MOUNT_DATA_LIMIT = 4095;

export interface Overlay {
  /** Read-only folders, the uppermost first. The kernel accepts 500. */
  readonly lower: readonly string[];
  /** The writable layer. Without it the mount is read-only. `work` is on the same file system. */
  readonly upper?: string;
  readonly work?: string;
  readonly target: string;
  /**
   * Creates `upper`, the folder above it, `work` and `target` before the mount if they do not exist, and
   * gives `upper` this owner and mode.
   */
  readonly make?: { readonly uid: number; readonly gid: number; readonly mode: number };
  /** The SELinux context of every file in it, regardless of the context on disk: mount(8), `context=`. */
  readonly context?: string;
}

/**
 * Mounts an overlay with fsopen(2) and one `lowerdir+` per layer, so that neither the number of layers nor
 * the length of their paths reaches the page limit of mount(2). A kernel without `lowerdir+` (before 6.8)
 * gets one option string. A single lower layer without upper, which overlayfs refuses, becomes a read-only
 * bind. The mount is never `volatile`, because such a mount does not survive a crash.
 * @throws PortcullisError KERNEL_EINVAL without a lower folder, or with only one of `upper` and `work`;
 * otherwise the error of the call, with the text that the kernel wrote
 */
export function mountOverlay(overlay: Overlay): void {
  const { lower, upper, work, target, make } = overlay;
  const [first] = lower;
  if (first === undefined)
    throw kernelError('EINVAL', 'mount overlay', target, 'an overlay needs at least one lower folder');
  if ((upper === undefined) !== (work === undefined)) {
    throw kernelError('EINVAL', 'mount overlay', target, 'upper and work must be given together');
  }
  if (upper === undefined && lower.length === 1) {
    bindMount(first, target, { readonly: true });
    return;
  }
  if (upper !== undefined && work !== undefined && make !== undefined) {
    for (const path of [dirname(upper), upper, work, target]) makeMissing(path);
    chownSync(upper, make.uid, make.gid);
    chmodSync(upper, make.mode);
  }
  const held: number[] = [];
  try {
    if (takesLayerOption()) mountByLayers(overlay, held);
    else mountByOptions(overlay, held);
  } finally {
    held.forEach(closeFd);
  }
}

/** Node's own recursive mkdir reports ENOENT for a file system that is read-only or does not answer. */
function makeMissing(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (thrown) {
    if (errnoOf(thrown) !== 'EEXIST') throw thrown;
  }
}

/**
 * Returns the layer's path if `fits`, otherwise a short path through a descriptor that stays open until the
 * mount exists.
 */
function layerName(path: string, fits: boolean, held: number[]): string {
  if (fits) return cString(path, 'mount overlay');
  const fd = openFile(path, O_PATH | O_DIRECTORY);
  held.push(fd);
  return `/proc/self/fd/${fd}`;
}

function mountByLayers({ lower, upper, work, target, context: label }: Overlay, held: number[]): void {
  using opened = new DisposableStack();
  const context = opened.adopt(checked(c.fsopen('overlay', FSOPEN_CLOEXEC), 'fsopen', 'overlay'), closeFd);
  const set = (key: string, path: string, value: string): void => {
    if (c.fsconfig(context, FSCONFIG_SET_STRING, key, value, 0) === -1)
      throw contextError(context, 'mount overlay', path);
  };
  // The kernel removes backslashes from upperdir and workdir, but not from lowerdir+. Such a path is passed
  // through its descriptor.
  const short = (path: string): string =>
    layerName(path, Buffer.byteLength(path) <= FSCONFIG_STRING_LIMIT && !path.includes('\\'), held);
  set('source', 'overlay', 'overlay');
  for (const path of lower) set('lowerdir+', path, short(path));
  if (upper !== undefined && work !== undefined) {
    set('upperdir', upper, short(upper));
    set('workdir', work, short(work));
  }
  if (label !== undefined) set('context', target, label);
  if (c.fsconfig(context, FSCONFIG_CMD_CREATE, null, null, 0) === -1)
    throw contextError(context, 'mount overlay', target);
  const mounted = c.fsmount(context, FSMOUNT_CLOEXEC, upper === undefined ? MOUNT_ATTR_RDONLY : 0);
  if (mounted === -1) throw contextError(context, 'mount overlay', target);
  opened.defer(() => closeFd(mounted));
  attach(mounted, target);
}

/**
 * Returns whether overlayfs accepts `lowerdir+`. It does not test this by trying: before 6.5 fsconfig accepts
 * any option, and the mount fails later.
 */
function takesLayerOption(): boolean {
  const { major, minor } = kernelRelease();
  return major > 6 || (major === 6 && minor >= 8);
}

/**
 * Escapes backslash, colon and comma, which are separators in an option string. Source: overlayfs
 * documentation, "Multiple lower layers".
 */
function escaped(path: string): string {
  return path.replace(/[\\:,]/g, '\\$&');
}

/**
 * Mounts with mount(2), for kernels without `lowerdir+`. Paths that do not fit in a page are passed through
 * descriptors. `held`: these descriptors, to be closed afterwards.
 */
export function mountByOptions({ lower, upper, work, target, context }: Overlay, held: number[]): void {
  const options = (fits: boolean): string => {
    const name = (path: string): string => escaped(layerName(path, fits, held));
    const writable =
      upper === undefined || work === undefined ? '' : `,upperdir=${name(upper)},workdir=${name(work)}`;
    return `lowerdir=${lower.map(name).join(':')}${writable}${context === undefined ? '' : `,context="${context}"`}`;
  };
  const plain = options(true);
  const data = Buffer.byteLength(plain) <= MOUNT_DATA_LIMIT ? plain : options(false);
  mount('overlay', target, 'overlay', upper === undefined ? MS_RDONLY : 0, data);
}
