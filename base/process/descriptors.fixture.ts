import { execFileSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';

/**
 * Limits the descriptors of this process and holds all of them, except those that a test frees. Between two
 * calls, do not await anything that needs a descriptor.
 */
export interface HeldDescriptors {
  /** Holds every free descriptor. */
  fill(): void;
  free(count: number): void;
  /** Returns how many are free. */
  room(): number;
  /** Frees all and lifts the limit. */
  release(): void;
}

/** @param limit low, so that filling is quick, and higher than any descriptor in use */
export function holdDescriptors(limit = 512): HeldDescriptors {
  const prlimit = (...args: readonly string[]): string =>
    execFileSync('prlimit', ['--pid', String(process.pid), ...args], { encoding: 'utf8' }).trim();
  const before = prlimit('--nofile', '--noheadings', '--output', 'SOFT');
  prlimit(`--nofile=${limit}:`);
  const held: number[] = [];
  const fill = (): void => {
    try {
      for (;;) held.push(openSync('/dev/null', 'r'));
    } catch {
      // No descriptor is left.
    }
  };
  const free = (count: number): void => {
    for (const fd of held.splice(0, count)) closeSync(fd);
  };
  return {
    fill,
    free,
    room: () => {
      const existing = held.length;
      fill();
      const found = held.splice(existing);
      for (const fd of found) closeSync(fd);
      return found.length;
    },
    release: () => {
      free(held.length);
      prlimit(`--nofile=${before}:`);
    },
  };
}
