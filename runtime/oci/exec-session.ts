import { readFileSync, readdirSync } from 'node:fs';
import { attempt, meansGone } from '../../base/errors/index.ts';
import { groupOf, sessionOf } from '../../base/kernel/index.ts';

const SIGHUP = 1;

/**
 * Returns a predicate for the processes that a user has detached from the session of `command`, for example
 * with `nohup` or `setsid`: such a process ignores SIGHUP, or is in another session. It outlives a terminal
 * that hangs up, and so also a session whose client has disconnected. Call this while the command lives: crun
 * creates the session in a process that ends before the command, so only the command itself shows which
 * session it is.
 * @returns a function that throws when a process cannot be inspected, for example without a free descriptor:
 * then the answer is unknown
 */
export function detachedFrom(command: number): (pid: number) => boolean {
  const session = sessionOf(command);
  return (pid) =>
    pid !== command &&
    (ignoresHangup(pid) || (session === undefined ? sessionOf(pid) === pid : sessionOf(pid) !== session));
}

/**
 * Kills a command with its process group, or only the command if some processes of the group may be meant to
 * stay. Without a separate cgroup, no other process can be found.
 */
export function killGroup(command: number, spare?: (pid: number) => boolean): void {
  const group = spare === undefined ? groupOf(command) : undefined;
  const targets = [...(group === undefined || group === groupOf(process.pid) ? [] : [-group]), command];
  // A process may have ended already.
  for (const target of targets) attempt(() => process.kill(target, 'SIGKILL'));
}

/**
 * Kills the processes in the session of a command, except those for which `spare` returns true.
 * @param leader the command, which is the leader of the session
 */
export function killSession(leader: number, spare: (pid: number) => boolean = () => false): void {
  for (const pid of readdirSync('/proc').map(Number)) {
    if (!Number.isInteger(pid) || sessionOf(pid) !== leader || spare(pid)) continue;
    // The process may have ended already.
    attempt(() => process.kill(pid, 'SIGKILL'));
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
