import { checked } from '../ffi/errno.ts';
import { glibc, lastErrno } from '../ffi/libc.ts';
import { constants as system } from 'node:os';

const c = { getsid: glibc('getsid', 'int', ['int']), getpgid: glibc('getpgid', 'int', ['int']) };

/**
 * Returns the session of a process (getsid(2)) in this process's PID namespace. No descriptor is needed.
 * @returns undefined: the process is gone
 */
export function sessionOf(pid: number): number | undefined {
  return known(c.getsid(pid), 'getsid', pid);
}

/** Returns the process group of a process (getpgid(2)). */
export function groupOf(pid: number): number | undefined {
  return known(c.getpgid(pid), 'getpgid', pid);
}

function known(result: number, call: string, pid: number): number | undefined {
  if (result < 0 && lastErrno() === system.errno.ESRCH) return undefined;
  return checked(result, call, String(pid));
}
