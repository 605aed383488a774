import { checked, isErrno, kernelError } from '../ffi/errno.ts';
import { glibc, lastErrno } from '../ffi/libc.ts';

const c = {
  ptrace: glibc('ptrace', 'long', ['long', 'int', 'ulong', 'void *']),
  waitpid: glibc('waitpid', 'int', ['int', 'void *', 'int']),
};

/** linux/ptrace.h */
const PTRACE_DETACH = 17;
const PTRACE_SEIZE = 0x4206;
const PTRACE_INTERRUPT = 0x4207;
const PTRACE_SECCOMP_GET_FILTER = 0x420c;
/** linux/wait.h */
const WNOHANG = 1;
const __WALL = 0x40000000;

const INSTRUCTION_BYTES = 8;

/** How long a process may take to stop, in ms. A process in an uninterruptible kernel call does not stop. */
const PATIENCE_MS = 2000;

/**
 * Returns the seccomp filters of a process, as they were loaded: one `struct sock_filter[]` each, the oldest
 * first; none if it is not filtered. ptrace(2), PTRACE_SECCOMP_GET_FILTER: this needs CAP_SYS_ADMIN, a kernel
 * with CONFIG_CHECKPOINT_RESTORE, and that this process is not filtered itself. It stops the process for less
 * than a millisecond, and blocks this thread during that time: call it in a command or a helper that ends
 * soon, never in the daemon.
 * @throws PortcullisError KERNEL_ESRCH, KERNEL_EPERM, KERNEL_EACCES, KERNEL_ETIMEDOUT
 */
export function seccompFilters(pid: number): Uint8Array[] {
  const on = `process ${pid}`;
  checked(c.ptrace(PTRACE_SEIZE, pid, 0, null), 'ptrace(PTRACE_SEIZE)', on);
  checked(c.ptrace(PTRACE_INTERRUPT, pid, 0, null), 'ptrace(PTRACE_INTERRUPT)', on);
  awaitStop(pid, on);
  try {
    const filters: Uint8Array[] = [];
    for (;;) {
      const filter = filterAt(pid, filters.length, on);
      if (filter === undefined) return filters;
      filters.push(filter);
    }
  } finally {
    c.ptrace(PTRACE_DETACH, pid, 0, null);
  }
}

function filterAt(pid: number, index: number, on: string): Uint8Array | undefined {
  const call = 'ptrace(PTRACE_SECCOMP_GET_FILTER)';
  try {
    const length = checked(c.ptrace(PTRACE_SECCOMP_GET_FILTER, pid, index, null), call, on);
    const filter = Buffer.alloc(length * INSTRUCTION_BYTES);
    checked(c.ptrace(PTRACE_SECCOMP_GET_FILTER, pid, index, filter), call, on);
    return filter;
  } catch (error) {
    // ENOENT: there is no filter with that index. EINVAL: the process is not in filter mode.
    if (isErrno(error, 'ENOENT', 'EINVAL')) return undefined;
    throw error;
  }
}

function awaitStop(pid: number, on: string): void {
  const status = Buffer.alloc(4);
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  for (
    const until = performance.now() + PATIENCE_MS;
    performance.now() < until;
    Atomics.wait(sleeper, 0, 0, 1)
  ) {
    const stopped = c.waitpid(pid, status, WNOHANG | __WALL);
    if (stopped === -1) throw kernelError(lastErrno(), 'waitpid', on);
    if (stopped !== pid) continue;
    // WIFSTOPPED
    if ((status.readUInt32LE(0) & 0xff) === 0x7f) return;
    throw kernelError('ESRCH', 'ptrace', on, 'it has ended');
  }
  throw kernelError(
    'ETIMEDOUT',
    'ptrace(PTRACE_INTERRUPT)',
    on,
    `it has not stopped after ${PATIENCE_MS / 1000} seconds`,
    'try again',
  );
}
