import { glibc } from './libc.ts';

/**
 * Which descriptors a thread has open of those that nobody else closes: a Worker that is ended in the middle of a call closes none of them, and a descriptor of
 * a network namespace keeps that for as long as the process lives. The list lies in memory that the Worker's owner shares.
 */
let own: Int32Array | undefined;

const bits = 32;
/** Descriptors with higher numbers are left out. */
const most = 65_536;

const c = { close: glibc('close', 'int', ['int']) };

/** Memory for one thread's list. */
export const newLedger = (): SharedArrayBuffer => new SharedArrayBuffer(most / 8);

/** From now on this thread writes down there what it {@link enter}s. */
export function keepLedger(memory: SharedArrayBuffer): void {
  own = new Int32Array(memory);
}

/** Writes down a descriptor that this thread opened, that nobody else gets, and that only `closeFd` closes. Returns it. */
export function enter(fd: number): number {
  if (own !== undefined && fd < most) Atomics.or(own, Math.floor(fd / bits), 1 << (fd % bits));
  return fd;
}

/** Before it is closed: afterwards its number may be another thread's descriptor. */
export function strike(fd: number): void {
  if (own !== undefined && fd >= 0 && fd < most) Atomics.and(own, Math.floor(fd / bits), ~(1 << (fd % bits)));
}

/** Closes what a thread left open. Only once it has ended. @returns how many */
export function closeLedger(memory: SharedArrayBuffer): number {
  const entries = new Int32Array(memory);
  let closed = 0;
  entries.forEach((word, at) => {
    for (let bit = 0; bit < bits; bit += 1) {
      if ((word & (1 << bit)) === 0) continue;
      c.close(at * bits + bit);
      closed += 1;
    }
    entries[at] = 0;
  });
  return closed;
}
