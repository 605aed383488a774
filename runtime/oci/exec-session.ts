import { readFileSync } from 'node:fs';

const SIGHUP = 1;

/**
 * What a user has detached from the session that `leader` leads, as by `nohup` or `setsid`: it ignores SIGHUP, or is in another
 * session. Such a process outlives a terminal that hangs up, and so a session whose client has gone.
 */
export function detachedFrom(leader: number): (pid: number) => boolean {
  return (pid) => pid !== leader && (sessionOf(pid) !== leader || ignoresHangup(pid));
}

/** Field 6 of /proc/PID/stat (proc_pid_stat(5)), in this process's PID namespace. */
function sessionOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[3]);
  } catch {
    return undefined;
  }
}

function ignoresHangup(pid: number): boolean {
  try {
    const ignored = /^SigIgn:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '0';
    return ((BigInt(`0x${ignored}`) >> BigInt(SIGHUP - 1)) & 1n) === 1n;
  } catch {
    return false;
  }
}
