import { constants } from 'node:os';
import { AF_INET, SOCK_DGRAM } from '../ffi/constants.ts';
import { checked, cString } from '../ffi/errno.ts';
import { closeFd } from '../files/files.ts';
import { glibc, lastErrno } from '../ffi/libc.ts';
import { socket } from './socket.ts';

/**
 * Reads links in the network namespace of a socket by ioctl, one value at a time: netdevice(7). One ioctl
 * takes the kernel a microsecond. rtnetlink returns all data about a link, and takes thirty. For a name that
 * no link has, the kernel tries to load a module, so use this only for links that are known to exist.
 */

const c = { ioctl: glibc('ioctl', 'int', ['int', 'ulong', 'void *']) };

const SIOCGIFNAME = 0x8910;
const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const SIOCGIFHWADDR = 0x8927;
const SIOCGIFINDEX = 0x8933;

const IFF_UP = 0x1;

const nameLength = 16;
const macLength = 6;

/** struct ifreq: the name, and the requested value. Every call is over before the next one begins. */
const request = Buffer.alloc(40);

/** @returns false if the link does not exist */
function ask(fd: number, number: number, call: string, on: string): boolean {
  const result = c.ioctl(fd, number, request);
  if (result === -1 && lastErrno() === constants.errno.ENODEV) return false;
  checked(result, call, on);
  return true;
}

function askByName(fd: number, name: string, number: number, call: string): boolean {
  const text = cString(name, call);
  if (text === '' || Buffer.byteLength(text) >= nameLength) return false;
  request.fill(0).write(text, 'utf8');
  return ask(fd, number, call, name);
}

/** Returns the name of the link with the index; undefined if there is none. @throws KERNEL_EBADF */
export function linkNameOf(fd: number, index: number): string | undefined {
  request.fill(0).writeInt32LE(index, nameLength);
  if (!ask(fd, SIOCGIFNAME, 'ioctl SIOCGIFNAME', `link #${index}`)) return undefined;
  return request.toString('utf8', 0, request.indexOf(0));
}

/**
 * Returns the index of the link; undefined if none has that name. @throws KERNEL_EBADF · KERNEL_EINVAL for a
 * NUL byte
 */
export function linkIndexOf(fd: number, name: string): number | undefined {
  return askByName(fd, name, SIOCGIFINDEX, 'ioctl SIOCGIFINDEX')
    ? request.readInt32LE(nameLength)
    : undefined;
}

/**
 * Returns the low 16 flags of a link (linux/if.h): IFF_UP is 0x1, IFF_RUNNING 0x40. Otherwise like {@link
 * linkIndexOf}.
 */
export function linkFlagsOf(fd: number, name: string): number | undefined {
  return askByName(fd, name, SIOCGIFFLAGS, 'ioctl SIOCGIFFLAGS')
    ? request.readUInt16LE(nameLength)
    : undefined;
}

/**
 * Returns the MAC address of an Ethernet-like link, as a new buffer of six bytes. Otherwise like {@link
 * linkIndexOf}.
 */
export function linkMacOf(fd: number, name: string): Buffer | undefined {
  if (!askByName(fd, name, SIOCGIFHWADDR, 'ioctl SIOCGIFHWADDR')) return undefined;
  // struct sockaddr: the family, then the address.
  return Buffer.from(request.subarray(nameLength + 2, nameLength + 2 + macLength));
}

/** Brings `lo` up in the calling thread's network namespace. */
export function raiseLoopback(): void {
  using opened = new DisposableStack();
  const fd = opened.adopt(socket(AF_INET, SOCK_DGRAM, 0), closeFd);
  const flags = linkFlagsOf(fd, 'lo') ?? 0;
  // The request still contains the name.
  request.writeUInt16LE(flags | IFF_UP, nameLength);
  checked(c.ioctl(fd, SIOCSIFFLAGS, request), 'ioctl SIOCSIFFLAGS', 'lo');
}
