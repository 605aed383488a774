import { readFileSync, statSync } from 'node:fs';
import { AF_INET, SOCK_DGRAM, closeFd, isErrno, netnsCookie, socket } from '../../base/kernel/index.ts';

/**
 * The id of the host network namespace of an attachment. Callers live in different ones (tests, nested
 * nodes). Their addresses and ports are independent of each other, and everything in a namespace ends with
 * it.
 */

let boot: string | undefined;

/** Returns the kernel's boot id, which changes with each boot. */
export function bootOf(): string {
  boot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return boot;
}

/**
 * Returns boot id and the kernel's cookie of the namespace. Unlike an inode number, a cookie is never reused,
 * so that nothing is attributed to a namespace that is long gone.
 * @param socketFd a socket that was opened inside the namespace
 * @param nsPath path of the namespace; kernels before 5.14 have no cookie, so its device and inode are used
 * instead
 */
export function namespaceIdOf(socketFd: number, nsPath: string): string {
  return `${bootOf()}/${nameOf(socketFd, nsPath)}`;
}

/** Returns the id of the calling thread's network namespace. */
export function ownNamespaceId(): string {
  using opened = new DisposableStack();
  const fd = opened.adopt(socket(AF_INET, SOCK_DGRAM, 0), closeFd);
  return namespaceIdOf(fd, '/proc/thread-self/ns/net');
}

function nameOf(socketFd: number, nsPath: string): string {
  try {
    return netnsCookie(socketFd).toString();
  } catch (thrown) {
    if (!isErrno(thrown, 'ENOPROTOOPT')) throw thrown;
    const { dev, ino } = statSync(nsPath);
    return `${dev}:${ino}`;
  }
}
