import { readFileSync } from 'node:fs';
import { groupOf, sessionOf } from '../../base/kernel/index.ts';
import { meansGone } from '../../base/process/index.ts';

const SIGHUP = 1;

/**
 * What a user has detached from the session of `command`, as by `nohup` or `setsid`: it ignores SIGHUP, or is in another session.
 * Such a process outlives a terminal that hangs up, and so a session whose client has gone. Ask while the command lives: crun makes
 * the session in a process that ends before the command, so that only the command itself tells which it is.
 * @returns throws where a process cannot be looked at, as without a free descriptor: then nobody knows
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

function ignoresHangup(pid: number): boolean {
  try {
    const ignored = /^SigIgn:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '0';
    return ((BigInt(`0x${ignored}`) >> BigInt(SIGHUP - 1)) & 1n) === 1n;
  } catch (cause) {
    if (meansGone(cause)) return false;
    throw cause;
  }
}
