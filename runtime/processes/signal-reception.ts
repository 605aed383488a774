import { readFileSync } from 'node:fs';
import type { ProcessIdentity } from '../../base/process/index.ts';

/**
 * The fate of a signal that is sent now. `received`: the process has a handler, or waits for signals.
 * `blocked`: the kernel keeps the signal until the process reads it (signalfd(2), or sigwait(3) in another
 * thread) or unblocks it. `dropped`: the process has ended, or the kernel would drop the signal if the
 * process is the first of its PID namespace (pid_namespaces(7)).
 */
export type SignalReception = 'received' | 'blocked' | 'dropped';

/** rt_sigtimedwait(2), by its number in the kernel's tables. */
const waitCall: Readonly<Record<string, string>> = { x64: '128', arm64: '137' };

/** SIGKILL and SIGSTOP need no handler. */
const unblockable: ReadonlySet<number> = new Set([9, 19]);

/** Returns what would happen to a signal that is sent to a process now. Never throws. */
export function signalReception(identity: ProcessIdentity | undefined, signal: number): SignalReception {
  if (unblockable.has(signal)) return 'received';
  // Read first: during the call, the kernel does not list the signals that it waits for as blocked.
  if (waitsForSignals(identity)) return 'received';
  try {
    const status = readFileSync(`/proc/${identity?.pid ?? 0}/status`, 'utf8');
    if (contains(status, 'SigCgt', signal)) return 'received';
    return contains(status, 'SigBlk', signal) ? 'blocked' : 'dropped';
  } catch {
    return 'dropped';
  }
}

function waitsForSignals(identity: ProcessIdentity | undefined): boolean {
  try {
    const [call] = readFileSync(`/proc/${identity?.pid ?? 0}/syscall`, 'utf8').split(' ');
    return call !== undefined && call === waitCall[process.arch];
  } catch {
    return false;
  }
}

/** Whether a set of signals of proc_pid_status(5) contains a signal. */
function contains(status: string, set: 'SigCgt' | 'SigBlk', signal: number): boolean {
  const mask = new RegExp(`^${set}:\\s*([0-9a-f]+)$`, 'm').exec(status)?.[1] ?? '0';
  return ((BigInt(`0x${mask}`) >> BigInt(signal - 1)) & 1n) === 1n;
}
