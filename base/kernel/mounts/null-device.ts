import { fchmodSync, unlinkSync } from 'node:fs';
import { O_RDWR, S_IFCHR } from '../ffi/constants.ts';
import { openDetachedMount } from './detached-mount.ts';
import { isErrno } from '../ffi/errno.ts';
import { mknod, openFile } from '../files/files.ts';

let home: number | undefined;
let made = 0;

/**
 * Opens a null device (null(4)) that no other process shares, so that a change of its owner and mode does not
 * affect the machine's /dev/null. crun gives the standard streams of a command to the user that runs it
 * (fchown(2)), and that user may then change their mode. If this process may not create devices, in a user
 * namespace, it opens the machine's device, which this process cannot give away either.
 * @returns a descriptor that the caller closes, open for reading and writing
 * @throws PortcullisError if the device can be neither created nor opened
 */
export function openNullDevice(): number {
  home ??= openDetachedMount('tmpfs');
  made += 1;
  const path = `/proc/self/fd/${home}/${made}`;
  try {
    mknod(path, S_IFCHR | 0o666, 1, 3);
  } catch (thrown) {
    if (isErrno(thrown, 'EPERM')) return openFile('/dev/null', O_RDWR);
    throw thrown;
  }
  try {
    const fd = openFile(path, O_RDWR);
    // This sets the mode regardless of the umask.
    fchmodSync(fd, 0o666);
    return fd;
  } finally {
    unlinkSync(path);
  }
}
