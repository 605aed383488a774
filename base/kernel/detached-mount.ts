import { checked } from './errno.ts';
import { closeFd } from './files.ts';
import { glibc } from './libc.ts';

const c = {
  fsopen: glibc('fsopen', 'int', ['str', 'uint']),
  fsconfig: glibc('fsconfig', 'int', ['int', 'uint', 'str', 'str', 'int']),
  fsmount: glibc('fsmount', 'int', ['int', 'uint', 'uint']),
};

const FSOPEN_CLOEXEC = 1;
const FSCONFIG_CMD_CREATE = 6;
const FSMOUNT_CLOEXEC = 1;

/**
 * Opens a mount that is attached nowhere and disappears with its descriptor. Its files are reached as
 * `/proc/self/fd/N/…`, and a killed process leaves nothing mounted. For file systems without options;
 * fsopen(2), fsmount(2).
 */
export function openDetachedMount(fstype: string): number {
  const context = checked(c.fsopen(fstype, FSOPEN_CLOEXEC), 'fsopen', fstype);
  try {
    checked(c.fsconfig(context, FSCONFIG_CMD_CREATE, null, null, 0), 'fsconfig', fstype);
    return checked(c.fsmount(context, FSMOUNT_CLOEXEC, 0), 'fsmount', fstype);
  } finally {
    closeFd(context);
  }
}
