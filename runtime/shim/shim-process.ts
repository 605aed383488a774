import { readFileSync } from 'node:fs';
import { failure } from '../../base/errors/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';

/** Start times of processes are given in these parts of a second (USER_HZ, the same on all architectures). */
const ticksPerSecond = 100;

/** Returns the time since the boot, in the unit of the start times of processes. */
export function ticksNow(): number {
  return Math.floor(Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * ticksPerSecond);
}

/**
 * Checks that the process which a shim reports as its own is not one that ran before the shim: the process
 * of a shim is killed with its pod.
 * @throws PortcullisError SHIM_BAD_ANSWER
 */
export function requireStartedSince(shim: ProcessIdentity, ticks: number, path: string): void {
  if (Number(shim.startTime) >= ticks) return;
  throw failure(
    'SHIM_BAD_ANSWER',
    'precondition',
    'start shim',
    path,
    `it reports the process ${shim.pid} as its own, and this process ran before the shim was started`,
    'use a shim that reports its own process',
  );
}
