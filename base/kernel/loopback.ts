import { checked } from './errno.ts';
import { glibc } from './libc.ts';
import { closeFd } from './files.ts';
import { socket } from './socket.ts';
import { AF_INET, SOCK_DGRAM } from './constants.ts';

const c = { ioctl: glibc('ioctl', 'int', ['int', 'ulong', 'void *']) };

const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const IFF_UP = 1;

/** Brings `lo` up in the calling thread's network namespace: netdevice(7). */
export function raiseLoopback(): void {
  const fd = socket(AF_INET, SOCK_DGRAM, 0);
  try {
    const ifreq = Buffer.alloc(40); // struct ifreq: name 16 bytes, flags i16
    ifreq.write('lo', 0);
    checked(c.ioctl(fd, SIOCGIFFLAGS, ifreq), 'SIOCGIFFLAGS', 'lo');
    ifreq.writeInt16LE(ifreq.readInt16LE(16) | IFF_UP, 16);
    checked(c.ioctl(fd, SIOCSIFFLAGS, ifreq), 'SIOCSIFFLAGS', 'lo');
  } finally {
    closeFd(fd);
  }
}
