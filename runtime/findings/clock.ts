import { found } from './finding-codes.ts';
import type { Found } from './finding-codes.ts';

/** One reading of the clocks, in milliseconds since 1970 unless stated otherwise. */
export interface ClockReading {
  readonly now: number;
  /** Milliseconds since boot, including suspended time. */
  readonly uptime: number;
  /** The kernel's own time of day. Undefined if /proc does not show it. */
  readonly kernel?: number;
  /** The hardware clock. Undefined if the machine has none. */
  readonly hardware?: number;
}

const jumpMs = 5 * 60_000;
/** A hardware clock may hold local time, up to 14 hours from UTC. */
const hardwareApartMs = 15 * 3_600_000;
/** How long a jump is reported. */
const reportedMs = 3_600_000;
/** The recorded times may have been written by another machine, with its own clock. */
const behindMs = 5 * 60_000;

/** Remembers the difference between the time of day and the time since boot, which no program can set. */
export function createClockWatch(): (reading: ClockReading, recorded: number) => readonly Found[] {
  let offset: number | undefined;
  let jump: { readonly at: number; readonly by: number } | undefined;
  return (reading, recorded) => {
    const { now, uptime } = reading;
    const next = now - uptime;
    if (offset !== undefined && Math.abs(next - offset) > jumpMs) jump = { at: uptime, by: next - offset };
    offset = next;
    if (jump !== undefined && uptime - jump.at > reportedMs) jump = undefined;
    return [
      ...clockFindings(reading, recorded),
      ...(jump === undefined ? [] : [found('CLOCK_JUMPED', 'clock', `by ${seconds(jump.by)}`)]),
    ];
  };
}

/**
 * Returns the findings of one clock reading. Pure.
 * @param recorded the newest time that this node has recorded; 0 if none
 */
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
      ? [
          found(
            'CLOCK_BEHIND',
            'clock',
            `the time is ${iso(now)}, and the newest recorded time is ${iso(recorded)}`,
          ),
        ]
      : []),
    ...(disagreeing.length === 0
      ? []
      : [found('CLOCK_DISAGREES', 'clock', `the time is ${iso(now)}; ${disagreeing.join('; ')}`)]),
  ];
}

function iso(time: number): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? String(time) : date.toISOString();
}

function seconds(milliseconds: number): string {
  return `${Math.round(milliseconds / 1000)} s`;
}
