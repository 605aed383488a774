import { glibc } from './libc.ts';

/**
 * The list of descriptors that a thread has open and that no other code closes. A Worker that is terminated
 * during a call does not close them, and a descriptor of a network namespace keeps the namespace alive as
 * long as the process. The list is in memory shared with the Worker's owner.
 */
let own: Int32Array | undefined;

const bits = 32;
/** Higher descriptor numbers are not recorded. */
const most = 65_536;

const c = { close: glibc('close', 'int', ['int']) };

/** Allocates memory for one thread's list. */
export const newLedger = (): SharedArrayBuffer => new SharedArrayBuffer(most / 8);

/** Makes this thread record every descriptor that it {@link enter}s in this memory from now on. */
export function keepLedger(memory: SharedArrayBuffer): void {
  own = new Int32Array(memory);
}

/**
 * Records a descriptor that this thread opened, that no other code receives, and that only `closeFd` closes.
 * Returns it.
 */
export function enter(fd: number): number {
  if (own !== undefined && fd < most) Atomics.or(own, Math.floor(fd / bits), 1 << (fd % bits));
  return fd;
}

/**
 * Removes a descriptor from the list. Call it before closing: afterwards the number may be another thread's
 * descriptor.
 */
export function strike(fd: number): void {
  if (own !== undefined && fd >= 0 && fd < most) Atomics.and(own, Math.floor(fd / bits), ~(1 << (fd % bits)));
}

/**
 * Closes the descriptors that a thread left open. Call it only after the thread has ended. @returns their
 * number
 */
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
