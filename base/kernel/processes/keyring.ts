import { isErrno, kernelError } from '../ffi/errno.ts';
import { glibc, lastErrno } from '../ffi/libc.ts';

const c = { syscall: glibc('syscall', 'int64', ['long', 'int', 'void *']) };
const numbers: Readonly<Record<string, number>> = { x64: 250, arm64: 219 };
const KEYCTL_JOIN_SESSION_KEYRING = 1;

/** Returns the number of keyctl(2) in the kernel's tables. @throws KERNEL_ENOSYS on another processor */
export function keyctlNumber(): number {
  const number = numbers[process.arch];
  if (number === undefined) throw kernelError('ENOSYS', 'keyctl', process.arch);
  return number;
}

/**
 * Gives the calling thread a new and empty session keyring (session-keyring(7)), which the programs that it
 * starts inherit. Does nothing if the kernel has no keyrings.
 * @throws KERNEL_<ERRNO>
 */
export function joinNewKeyring(): void {
  if (c.syscall(keyctlNumber(), KEYCTL_JOIN_SESSION_KEYRING, null) >= 0) return;
  const failed = kernelError(lastErrno(), 'keyctl', 'session keyring');
  if (!isErrno(failed, 'ENOSYS')) throw failed;
}
