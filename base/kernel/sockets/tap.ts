import { O_RDWR } from '../ffi/constants.ts';
import { checked, cString, kernelError } from '../ffi/errno.ts';
import { withOpen } from '../files/files.ts';
import { glibc } from '../ffi/libc.ts';

/** TAP devices. Source: Documentation/networking/tuntap.rst, linux/if_tun.h. */

const c = {
  withRequest: glibc('ioctl', 'int', ['int', 'ulong', 'void *']),
  withNumber: glibc('ioctl', 'int', ['int', 'ulong', 'ulong']),
};

const TUNSETIFF = 0x400454ca;
const TUNSETPERSIST = 0x400454cb;
const TUNSETOWNER = 0x400454cc;
const TUNSETGROUP = 0x400454ce;

const IFF_TAP = 0x0002;
const IFF_MULTI_QUEUE = 0x0100;
const IFF_NO_PI = 0x1000;

const nameLength = 16;

/** The character device through which programs reach TAP devices. */
export const tapControl = '/dev/net/tun';

export interface TapSettings {
  /** Several programs, or threads of one, can open it. Every program must open it in this way then. */
  readonly multiQueue: boolean;
  /** The user and the group whose programs may open it without CAP_NET_ADMIN. Absent: everyone's. */
  readonly owner?: number;
  readonly group?: number;
}

/**
 * Creates a TAP device in the calling thread's network namespace, or opens the existing one of that name, and
 * sets its owner and group. The device stays when `beforeKept` has returned: if this process is killed
 * earlier, the kernel removes a device that this call created.
 * @throws KERNEL_ENOENT and KERNEL_ENODEV without the kernel module `tun` · KERNEL_EINVAL if the name belongs
 * to another kind of link · KERNEL_EBUSY while a program has the device open
 */
export function keepTap(name: string, settings: TapSettings, beforeKept: () => void): void {
  const attempted = 'ioctl TUNSETIFF';
  const text = cString(name, attempted);
  if (Buffer.byteLength(text) >= nameLength || text === '' || text.includes('%'))
    throw kernelError('EINVAL', attempted, name, 'this is not a name of a link');
  const request = Buffer.alloc(40); // struct ifreq
  request.write(text, 'utf8');
  request.writeUInt16LE(IFF_TAP | IFF_NO_PI | (settings.multiQueue ? IFF_MULTI_QUEUE : 0), nameLength);
  withOpen(tapControl, O_RDWR, (fd) => {
    checked(c.withRequest(fd, TUNSETIFF, request), attempted, name);
    if (settings.owner !== undefined)
      checked(c.withNumber(fd, TUNSETOWNER, settings.owner), 'ioctl TUNSETOWNER', name);
    if (settings.group !== undefined)
      checked(c.withNumber(fd, TUNSETGROUP, settings.group), 'ioctl TUNSETGROUP', name);
    beforeKept();
    checked(c.withNumber(fd, TUNSETPERSIST, 1), 'ioctl TUNSETPERSIST', name);
  });
}
