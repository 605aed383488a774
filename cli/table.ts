import { largest } from '../base/lists/index.ts';
import { printable } from './printable.ts';

/**
 * Formats rows as aligned columns with two spaces between; the text ends with a newline. A cell is always one
 * line, whatever characters it holds.
 */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [header, ...rows.map((row) => row.map(printable))];
  const widths = header.map((_, column) => largest(all.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]): string => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ');
  return all.map((row) => `${line(row).trimEnd()}\n`).join('');
}

/** Returns the time since `createdAt` in its largest unit: `45s`, `3m`, `5h`, `12d`. */
export function age(createdAt: bigint, now: Date): string {
  const seconds = Math.max(0, Math.floor(now.getTime() / 1000 - Number(createdAt / 1_000_000_000n)));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  return seconds < 86_400 ? `${Math.floor(seconds / 3600)}h` : `${Math.floor(seconds / 86_400)}d`;
}

/**
 * Formats nanoseconds since 1970 as ISO 8601 in UTC, to the millisecond; returns an empty string for 0 (not
 * set).
 */
export function isoTime(nanoseconds: bigint): string {
  return nanoseconds === 0n ? '' : new Date(Number(nanoseconds / 1_000_000n)).toISOString();
}

/** Shortens an id. The result is long enough to be given back to a command. */
export function shortId(id: string): string {
  return id.replace(/^sha256:/, '').slice(0, 13);
}
