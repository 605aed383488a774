import { closeSync, constants, fsyncSync, openSync } from 'node:fs';
import { enableVerity, isErrno, verityDigest } from '../../../base/kernel/index.ts';
import { unwritable } from '../unpack/layer-error.ts';

/**
 * How often, and after how many milliseconds, the call is repeated for a file that another process has open
 * for writing.
 */
const patience = { attempts: 200, ms: 10 } as const;

/**
 * Protects a complete file by fs-verity if its file system supports that, and waits until the protection is
 * on the disk: from then on nobody can change the file, and a read of a block that the disk changed fails.
 * Reads all of it. After a power cut during the call, the file may be protected or not. Blocks: call it in a
 * Worker.
 * @param path of a file that nobody writes any more
 * @returns the digest, in hex, by which the kernel knows the content; undefined: the file system has no
 * fs-verity
 * @throws IMAGES_LAYER_UNWRITABLE, IMAGES_DISK_FULL
 */
export function protectFile(path: string): string | undefined {
  try {
    using opened = new DisposableStack();
    const fd = opened.adopt(openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW), closeSync);
    if (!enablePatiently(fd)) return undefined;
    fsyncSync(fd);
    const digest = verityDigest(fd);
    if (digest === undefined)
      throw new Error('the kernel does not report the digest of a file that it protects');
    return digest;
  } catch (thrown) {
    throw unwritable(thrown, 'layer');
  }
}

/** A program that this process starts inherits its descriptors until execve(2). */
function enablePatiently(fd: number): boolean {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return enableVerity(fd);
    } catch (thrown) {
      if (!isErrno(thrown, 'ETXTBSY') || attempt === patience.attempts) throw thrown;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, patience.ms);
    }
  }
}
