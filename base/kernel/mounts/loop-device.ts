import { checked, isErrno } from '../ffi/errno.ts';
import { withOpen } from '../files/files.ts';
import { glibc } from '../ffi/libc.ts';
import { O_RDONLY, O_RDWR } from '../ffi/constants.ts';

const c = {
  ioctl: glibc('ioctl', 'int', ['int', 'ulong', 'void *']),
};

// linux/loop.h. LOOP_CONFIGURE since kernel 5.8.
const LOOP_CTL_GET_FREE = 0x4c82;
const LOOP_CONFIGURE = 0x4c0a;
const LO_FLAGS_READ_ONLY = 1;
const LO_FLAGS_AUTOCLEAR = 4;
const LO_FLAGS_DIRECT_IO = 16;
/**
 * struct loop_config: fd and block_size (u32 each), struct loop_info64 with lo_flags at 52, 8 reserved u64.
 */
const LOOP_CONFIG_SIZE = 304;
const flagsAt = 8 + 52;
/** Another program may take a free device before we configure it. */
const attempts = 100;

/**
 * Presents a file as a read-only disk, for the time of `body`, and beyond for as long as something that
 * `body` opened uses it: a mount keeps the device. Blocks: call it in a Worker. Source: loop(4).
 * @param direct whether reads bypass the page cache of the file's own file system, where that can do so
 */
export function withLoopDevice<T>(path: string, direct: boolean, body: (device: string) => T): T {
  return withOpen(path, O_RDONLY, (file) => {
    for (let attempt = 1; ; attempt += 1) {
      const number = withOpen('/dev/loop-control', O_RDWR, (control) =>
        checked(c.ioctl(control, LOOP_CTL_GET_FREE, null), 'ioctl LOOP_CTL_GET_FREE', '/dev/loop-control'),
      );
      const device = `/dev/loop${number}`;
      // The device is removed with its last user, so it must stay open until `body` has used it.
      const done = withOpen(device, O_RDONLY, (fd) => {
        if (!configure(fd, file, device, direct, attempt === attempts)) return undefined;
        return { result: body(device) };
      });
      if (done !== undefined) return done.result;
    }
  });
}

/** Returns false if another program has taken the device, unless this is the last attempt. */
function configure(fd: number, file: number, device: string, direct: boolean, last: boolean): boolean {
  const config = Buffer.alloc(LOOP_CONFIG_SIZE);
  config.writeUInt32LE(file, 0);
  config.writeUInt32LE(512, 4);
  config.writeUInt32LE(LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR | (direct ? LO_FLAGS_DIRECT_IO : 0), flagsAt);
  try {
    checked(c.ioctl(fd, LOOP_CONFIGURE, config), 'ioctl LOOP_CONFIGURE', device);
    return true;
  } catch (thrown) {
    if (!last && isErrno(thrown, 'EBUSY')) return false;
    throw thrown;
  }
}
