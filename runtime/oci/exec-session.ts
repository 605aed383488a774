import { readFileSync } from 'node:fs';

const SIGHUP = 1;

/**
 * What a user has detached from the session of `command`, as by `nohup` or `setsid`: it ignores SIGHUP, or is in another session.
 * Such a process outlives a terminal that hangs up, and so a session whose client has gone. Ask while the command lives: crun makes
 * the session in a process that ends before the command, so that only the command itself tells which it is.
 */
export function detachedFrom(command: number): (pid: number) => boolean {
  const session = sessionOf(command);
  return (pid) => pid !== command && (ignoresHangup(pid) || (session === undefined ? sessionOf(pid) === pid : sessionOf(pid) !== session));
}

/** Kills a command with its process group, or alone when some of that may be meant to stay: all that can be found without a cgroup of its own. */
export function killGroup(command: number, spare?: (pid: number) => boolean): void {
  const group = spare === undefined ? groupOf(command) : undefined;
  for (const target of [...(group === undefined || group === groupOf(process.pid) ? [] : [-group]), command]) {
    try {
      process.kill(target, 'SIGKILL');
    } catch {
      // Gone already.
    }
  }
}

/** Field 6 of /proc/PID/stat (proc_pid_stat(5)), in this process's PID namespace. */
function sessionOf(pid: number): number | undefined {
  return statField(pid, 3);
}

/** Field 5. */
function groupOf(pid: number): number | undefined {
  return statField(pid, 2);
}

/** @param index after the command name, which may hold anything */
function statField(pid: number, index: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[index]);
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
