import { readFileSync, statSync } from 'node:fs';
import { AF_INET, SOCK_DGRAM, closeFd, isErrno, netnsCookie, socket } from '../../base/kernel/index.ts';

/**
 * Which host network namespace an attachment stands in. Callers live in different ones (tests, nested nodes); their addresses and
 * ports have nothing to do with each other, and what belongs to a namespace ends with it.
 */

let boot: string | undefined;

/** The kernel's boot id: another one after each boot. */
export function bootOf(): string {
  boot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return boot;
}

/**
 * Boot id and the kernel's cookie of the namespace. Unlike an inode number a cookie is never given twice, so that nothing is
 * taken for the property of a namespace that is long gone.
 * @param socketFd a socket made inside the namespace
 * @param nsPath of the namespace; kernels before 5.14 have no cookie, there its device and inode stand for it
 */
export function realmOf(socketFd: number, nsPath: string): string {
  return `${bootOf()}/${nameOf(socketFd, nsPath)}`;
}

/** Of the calling thread. */
export function ownRealm(): string {
  const fd = socket(AF_INET, SOCK_DGRAM, 0);
  try {
    return realmOf(fd, '/proc/thread-self/ns/net');
  } finally {
    closeFd(fd);
  }
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
