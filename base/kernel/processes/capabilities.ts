import { capabilityNames } from '../../capabilities/index.ts';
import { checked } from '../ffi/errno.ts';
import { glibc } from '../ffi/libc.ts';

const c = {
  prctl: glibc('prctl', 'int', ['int', 'ulong', 'ulong', 'ulong', 'ulong']),
  capget: glibc('capget', 'int', ['void *', 'void *']),
};

const PR_CAPBSET_READ = 23;
const LINUX_CAPABILITY_VERSION_3 = 0x20080522;

/**
 * Returns the names (without `CAP_`) of the capabilities in the calling thread's bounding set: the most that
 * a child process can have.
 */
export function boundingCapabilities(): string[] {
  // -1 (EINVAL) means that this kernel does not know the capability.
  return capabilityNames.filter((_name, number) => c.prctl(PR_CAPBSET_READ, number, 0, 0, 0) === 1);
}

/** Returns the names (without `CAP_`) of the capabilities that the calling thread can use now: capget(2). */
export function effectiveCapabilities(): string[] {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(LINUX_CAPABILITY_VERSION_3, 0);
  // two of { effective u32, permitted u32, inheritable u32 }: low and high half
  const data = Buffer.alloc(24);
  checked(c.capget(header, data), 'capget', 'this thread');
  const effective = data.readUInt32LE(0) + data.readUInt32LE(12) * 2 ** 32;
  return capabilityNames.filter((_name, number) => Math.floor(effective / 2 ** number) % 2 === 1);
}
