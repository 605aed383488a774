import { constants } from 'node:os';
import { checked, kernelError } from '../ffi/errno.ts';
import { glibc, lastErrno } from '../ffi/libc.ts';
import { pollIn } from '../sockets/socket.ts';

const c = {
  syscall2: glibc('syscall', 'int64', ['long', 'int', 'uint']),
  syscall4: glibc('syscall', 'int64', ['long', 'int', 'int', 'void *', 'uint']),
  ioctl: glibc('ioctl', 'int', ['int', 'ulong', 'void *']),
};

// The numbers are the same on every architecture. glibc has wrappers only since 2.36.
const SYS_pidfd_send_signal = 424;
const SYS_pidfd_open = 434;

/**
 * Opens a descriptor of the process `pid`; the kernel makes it close-on-exec. ESRCH if there is no such
 * process. Kernel 5.3.
 */
export function pidfdOpen(pid: number): number {
  return checked(c.syscall2(SYS_pidfd_open, pid, 0), 'pidfd_open', `process ${pid}`);
}

/**
 * Sends a signal (a number, or a name such as `SIGTERM`) to exactly the process behind the descriptor. ESRCH
 * once the process is gone.
 */
export function pidfdSendSignal(pidfd: number, signal: number | NodeJS.Signals): void {
  const number = typeof signal === 'number' ? signal : constants.signals[signal];
  checked(c.syscall4(SYS_pidfd_send_signal, pidfd, number, null, 0), 'pidfd_send_signal', `pidfd ${pidfd}`);
}

export interface PidfdInfo {
  /** 0 once the process has been reaped. */
  readonly pid: number;
  readonly ppid: number;
  /** Whether the process has ended, reaped or not. */
  readonly exited: boolean;
  /**
   * The exit code, or 128 plus the number of a signal. Known once the parent has reaped the process; kernel
   * 6.15.
   */
  readonly exitCode?: number;
  /** The id of its cgroup in the v2 hierarchy; 0 if unknown. */
  readonly cgroupId: bigint;
}

// linux/pidfd.h: struct pidfd_info, first version, 64 bytes: mask u64, cgroupid u64, pid, tgid, ppid, 8 ids,
// exit_code i32.
const PIDFD_INFO_SIZE = 64;
// _IOWR(0xFF, 11, struct pidfd_info)
const PIDFD_GET_INFO = 0xc040ff0b;
const PIDFD_INFO_PID = 1n << 0n;
const PIDFD_INFO_CGROUPID = 1n << 2n;
const PIDFD_INFO_EXIT = 1n << 3n;

/**
 * Returns what the kernel knows about the process behind a pidfd, even after its end and reaping, so that an
 * exit code outlives a lost parent. Undefined if the kernel does not support this (before 6.13). ESRCH: the
 * process was reaped and its exit was not recorded.
 * @throws PortcullisError with any other error, such as KERNEL_ESRCH
 */
export function pidfdInfo(pidfd: number): PidfdInfo | undefined {
  const exited = pollIn(pidfd, 0);
  const info = Buffer.alloc(PIDFD_INFO_SIZE);
  info.writeBigUInt64LE(PIDFD_INFO_PID | PIDFD_INFO_CGROUPID | PIDFD_INFO_EXIT, 0);
  if (c.ioctl(pidfd, PIDFD_GET_INFO, info) === -1) {
    const errno = lastErrno();
    if (errno === constants.errno.ENOTTY || errno === constants.errno.EINVAL) return undefined;
    throw kernelError(errno, 'PIDFD_GET_INFO', `pidfd ${pidfd}`);
  }
  const mask = info.readBigUInt64LE(0);
  const has = (bit: bigint): boolean => (mask & bit) !== 0n;
  const common = {
    pid: has(PIDFD_INFO_PID) ? info.readUInt32LE(20) : 0,
    ppid: has(PIDFD_INFO_PID) ? info.readUInt32LE(24) : 0,
    exited: exited || has(PIDFD_INFO_EXIT),
    cgroupId: has(PIDFD_INFO_CGROUPID) ? info.readBigUInt64LE(8) : 0n,
  };
  return has(PIDFD_INFO_EXIT) ? { ...common, exitCode: exitCodeOf(info.readInt32LE(60)) } : common;
}

/** Converts a wait status to one number, as shells do: wait(2). */
function exitCodeOf(status: number): number {
  const signal = status & 0x7f;
  return signal === 0 ? (status >> 8) & 0xff : 128 + signal;
}
