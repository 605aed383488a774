import { found } from './ways.ts';
import type { Found } from './ways.ts';

/** One look at the clocks, in milliseconds since 1970 unless told. */
export interface ClockReading {
  readonly now: number;
  /** Since boot, suspended time included. */
  readonly uptime: number;
  /** The kernel's own time of day; undefined where /proc does not tell. */
  readonly kernel?: number;
  /** The hardware clock; undefined where there is none. */
  readonly hardware?: number;
}

const jumpMs = 5 * 60_000;
/** A hardware clock may hold local time, up to 14 hours from UTC. */
const hardwareApartMs = 15 * 3_600_000;
/** A jump is reported for so long. */
const toldMs = 3_600_000;
/** Another machine may have written what is recorded here, with a clock of its own. */
const behindMs = 5 * 60_000;

/** Remembers how far the time of day was from the time since boot, which nobody can set. */
export function createClockWatch(): (reading: ClockReading, recorded: number) => readonly Found[] {
  let offset: number | undefined;
  let jump: { readonly at: number; readonly by: number } | undefined;
  return (reading, recorded) => {
    const { now, uptime } = reading;
    const next = now - uptime;
    if (offset !== undefined && Math.abs(next - offset) > jumpMs) jump = { at: uptime, by: next - offset };
    offset = next;
    if (jump !== undefined && uptime - jump.at > toldMs) jump = undefined;
    return [...clockFindings(reading, recorded), ...(jump === undefined ? [] : [found('CLOCK_JUMPED', 'clock', `by ${seconds(jump.by)}`)])];
  };
}

/** @param recorded the newest time that this node has written down; 0: none. Pure. */
export function clockFindings({ now, kernel, hardware }: ClockReading, recorded: number): readonly Found[] {
  const others = [
    ['the kernel', kernel, jumpMs],
    ['the hardware clock', hardware, hardwareApartMs],
  ] as const;
  const disagreeing = others.flatMap(([name, time, apart]) =>
    time !== undefined && Math.abs(time - now) > apart ? [`${name} says ${iso(time)}`] : [],
  );
  return [
    ...(recorded - now > behindMs
      ? [found('CLOCK_BEHIND', 'clock', `it is ${iso(now)}, and something was recorded at ${iso(recorded)}`)]
      : []),
    ...(disagreeing.length === 0 ? [] : [found('CLOCK_DISAGREES', 'clock', `it is ${iso(now)}; ${disagreeing.join('; ')}`)]),
  ];
}

function iso(time: number): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? String(time) : date.toISOString();
}

function seconds(milliseconds: number): string {
  return `${Math.round(milliseconds / 1000)} s`;
}
