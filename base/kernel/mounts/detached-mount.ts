import { checked, cString } from '../ffi/errno.ts';
import { closeFd } from '../files/files.ts';
import { glibc } from '../ffi/libc.ts';
import { withLoopDevice } from './loop-device.ts';
import { contextError } from './mount-context.ts';

const c = {
  fsopen: glibc('fsopen', 'int', ['str', 'uint']),
  fsconfig: glibc('fsconfig', 'int', ['int', 'uint', 'str', 'str', 'int']),
  fsmount: glibc('fsmount', 'int', ['int', 'uint', 'uint']),
};

const FSOPEN_CLOEXEC = 1;
const FSCONFIG_SET_FLAG = 0;
const FSCONFIG_SET_STRING = 1;
const FSCONFIG_CMD_CREATE = 6;
const FSMOUNT_CLOEXEC = 1;
const MOUNT_ATTR_RDONLY = 1;

/** A regular file that contains a file system. */
export interface MountedFile {
  /** Its path, at most 255 bytes, for example through its descriptor: `/proc/self/fd/N`. */
  readonly path: string;
  /** Whether the file system reads the file itself, or a loop device presents the file as a disk. */
  readonly by: 'file' | 'loop';
  /** Whether reads bypass the page cache of the file's own file system, where that can do so. */
  readonly direct: boolean;
}

/**
 * Opens a mount that is attached nowhere and disappears with its descriptor. Its files are reached as
 * `/proc/self/fd/N/…`, and a killed process leaves nothing mounted. For file systems without options;
 * fsopen(2), fsmount(2).
 * @param file contains the file system, which is mounted read-only. The kernel parses what is in the file:
 * pass only a file whose content is known to be valid.
 */
export function openDetachedMount(fstype: string, file?: MountedFile): number {
  if (file?.by === 'loop')
    return withLoopDevice(file.path, file.direct, (device) => open(fstype, device, []));
  return open(fstype, file?.path, file?.direct === true ? ['directio'] : []);
}

function open(fstype: string, source: string | undefined, flags: readonly string[]): number {
  using opened = new DisposableStack();
  const context = opened.adopt(checked(c.fsopen(fstype, FSOPEN_CLOEXEC), 'fsopen', fstype), closeFd);
  const configure = (command: number, key: string | null, value: string | null): void => {
    if (c.fsconfig(context, command, key, value, 0) === -1)
      throw contextError(context, 'fsconfig', source ?? fstype);
  };
  if (source !== undefined) configure(FSCONFIG_SET_STRING, 'source', cString(source, 'fsconfig'));
  for (const flag of flags) configure(FSCONFIG_SET_FLAG, flag, null);
  if (source !== undefined) configure(FSCONFIG_SET_FLAG, 'ro', null);
  configure(FSCONFIG_CMD_CREATE, null, null);
  return checked(
    c.fsmount(context, FSMOUNT_CLOEXEC, source === undefined ? 0 : MOUNT_ATTR_RDONLY),
    'fsmount',
    fstype,
  );
}
