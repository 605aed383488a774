import { checked, isErrno } from '../ffi/errno.ts';
import { glibc } from '../ffi/libc.ts';

const c = {
  ioctl: glibc('ioctl', 'int', ['int', 'ulong', 'void *']),
};

// linux/fsverity.h
const FS_IOC_ENABLE_VERITY = 0x40806685;
const FS_IOC_MEASURE_VERITY = 0xc0046686;
const FSVERITY_ENABLE_ARG_SIZE = 128;
const FS_VERITY_HASH_ALG_SHA256 = 1;
const digestBytes = 32;
/** Every file system with fs-verity accepts it if pages have 4 KiB. */
const blockBytes = 4096;

/**
 * Makes an open file permanently read-only, and lets the kernel compare every block that it reads from the
 * disk with a tree of hashes (fs-verity). A read of a changed block fails with EIO. Reads all of the file.
 * Blocks: call it in a Worker. A power cut before the next fsync(2) of the file may leave it without
 * fs-verity, but never in between. Source: fsverity.rst of the kernel, "FS_IOC_ENABLE_VERITY".
 * @param fd open for reading; nobody may have the file open for writing
 * @returns false if the file system or the kernel has no fs-verity
 * @throws KERNEL_ETXTBSY while a descriptor that can write the file is open
 */
export function enableVerity(fd: number): boolean {
  // struct fsverity_enable_arg: version, hash_algorithm, block_size, salt_size (u32 each), salt_ptr u64, and
  // further fields for signatures
  const request = Buffer.alloc(FSVERITY_ENABLE_ARG_SIZE);
  request.writeUInt32LE(1, 0);
  request.writeUInt32LE(FS_VERITY_HASH_ALG_SHA256, 4);
  request.writeUInt32LE(blockBytes, 8);
  try {
    checked(c.ioctl(fd, FS_IOC_ENABLE_VERITY, request), 'ioctl FS_IOC_ENABLE_VERITY', `fd ${fd}`);
    return true;
  } catch (thrown) {
    // ENOTTY: the file system has none. EOPNOTSUPP: it is not enabled there, or in the kernel. EINVAL: not
    // with such blocks.
    if (isErrno(thrown, 'ENOTTY', 'EOPNOTSUPP', 'EINVAL')) return false;
    throw thrown;
  }
}

/**
 * Returns the digest, in hex, by which fs-verity knows the content of an open file; undefined: the file has
 * no fs-verity. Takes constant time. The digest is not the sha256 of the file: it covers its tree of hashes
 * and its length. Source: fsverity.rst of the kernel, "FS_IOC_MEASURE_VERITY".
 * @throws PortcullisError if the kernel refuses to measure it
 */
export function verityDigest(fd: number): string | undefined {
  // struct fsverity_digest: digest_algorithm u16, digest_size u16, digest
  const answer = Buffer.alloc(4 + 64);
  answer.writeUInt16LE(answer.length - 4, 2);
  try {
    checked(c.ioctl(fd, FS_IOC_MEASURE_VERITY, answer), 'ioctl FS_IOC_MEASURE_VERITY', `fd ${fd}`);
  } catch (thrown) {
    if (isErrno(thrown, 'ENODATA', 'ENOTTY', 'EOPNOTSUPP')) return undefined;
    throw thrown;
  }
  const [algorithm, size] = [answer.readUInt16LE(0), answer.readUInt16LE(2)];
  // Another program enabled it in another way.
  if (algorithm !== FS_VERITY_HASH_ALG_SHA256 || size !== digestBytes) return undefined;
  return answer.toString('hex', 4, 4 + digestBytes);
}
