import { isErrno, kernelError } from '../ffi/errno.ts';
import { withOpen, writeFd } from '../files/files.ts';
import { O_WRONLY } from '../ffi/constants.ts';
import type { NamespaceType } from './namespaces.ts';

const ipcSysctls = new Set([
  'kernel.sem',
  'kernel.shmmax',
  'kernel.shmall',
  'kernel.shmmni',
  'kernel.shm_rmid_forced',
  'kernel.shm_next_id',
  'kernel.sem_next_id',
  'kernel.auto_msgmni',
]);

/**
 * Returns the namespace type that a sysctl (`net.ipv4.ip_forward`) belongs to; undefined if it would change
 * the whole host. Source: namespaces(7), sysctl(5).
 */
export function sysctlNamespace(name: string): NamespaceType | undefined {
  const dotted = name.includes('.') && !startsWithSlash(name) ? name : name.replaceAll('/', '.');
  if (dotted.startsWith('net.')) return 'net';
  if (ipcSysctls.has(dotted) || dotted.startsWith('kernel.msg') || dotted.startsWith('fs.mqueue.'))
    return 'ipc';
  if (dotted === 'kernel.hostname' || dotted === 'kernel.domainname') return 'uts';
  return undefined;
}

/**
 * Returns whether the first separator is a slash. Then dots belong to names, as in
 * `net/ipv4/conf/eth0.7/forwarding`. Source: sysctl(8).
 */
function startsWithSlash(name: string): boolean {
  return /^[^./]*\//.test(name);
}

/**
 * Returns the path of a sysctl below /proc/sys.
 * @throws PortcullisError KERNEL_EINVAL for a text that is not a name of a sysctl
 */
export function sysctlPath(name: string): string {
  const parts = startsWithSlash(name)
    ? name.split('/')
    : name.split('.').map((part) => part.replaceAll('/', '.'));
  if (
    parts.length < 2 ||
    parts.some((part) => !/^[A-Za-z0-9_.:@-]+$/.test(part) || part === '.' || part === '..')
  ) {
    throw kernelError('EINVAL', 'set sysctl', name, 'this is not a sysctl name');
  }
  return `/proc/sys/${parts.join('/')}`;
}

/**
 * Refuses names that do not belong to one of `types`, because they would change the host.
 * @throws PortcullisError KERNEL_EPERM, or KERNEL_EINVAL for a text that is not a name of a sysctl
 */
export function checkSysctls(
  sysctls: Readonly<Record<string, string>>,
  types: readonly NamespaceType[],
): void {
  for (const name of Object.keys(sysctls)) {
    sysctlPath(name);
    const type = sysctlNamespace(name);
    if (type === undefined || !types.includes(type)) {
      throw kernelError(
        'EPERM',
        'set sysctl',
        name,
        `it does not belong to the namespaces ${types.join(', ')}, so it would change the host`,
        'leave this sysctl out, or set it on the node',
      );
    }
  }
}

/**
 * Writes sysctls of the calling thread's namespaces; call {@link checkSysctls} before the window.
 * @throws PortcullisError KERNEL_ENOENT for a sysctl that this kernel does not have, KERNEL_EINVAL for a
 * value that it does not accept
 */
export function writeSysctls(sysctls: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(sysctls)) {
    try {
      withOpen(sysctlPath(name), O_WRONLY, (fd) => writeFd(fd, Buffer.from(value)));
    } catch (error) {
      if (isErrno(error, 'ENOENT'))
        throw kernelError(
          'ENOENT',
          'set sysctl',
          name,
          'this kernel has no namespaced sysctl with that name',
          'leave it out',
        );
      if (isErrno(error, 'EINVAL', 'ERANGE'))
        throw kernelError(
          'EINVAL',
          'set sysctl',
          name,
          'the kernel does not accept its value',
          'correct the value',
        );
      throw error;
    }
  }
}
