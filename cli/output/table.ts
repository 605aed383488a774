import { largest } from '../../base/lists/index.ts';
import { printable } from './printable.ts';
import { outputFit, pieces, textWidth } from './terminal.ts';

/** A column is not made narrower than this to fit a terminal. */
const leastColumn = 6;
/** The width of a short id, which should not be broken. */
const idWidth = 13;

/**
 * Formats rows as aligned columns with two spaces between; the text ends with a newline. A cell is one line,
 * whatever characters it holds, unless the row is longer than `width`: then its longest cells continue on the
 * next line.
 * @param width columns of the terminal; infinite for programs
 */
export function table(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  width: number = outputFit().width,
): string {
  const all = [header, ...rows.map((row) => row.map(printable))];
  const ofColumn = (measure: (cell: string) => number): readonly number[] =>
    header.map((_, column) => largest(all.map((row) => measure(row[column] ?? ''))));
  const words = ofColumn(Number.isFinite(width) ? longestWord : textWidth);
  const ids = words.map((each) => Math.min(each, idWidth));
  const least = words.map(() => leastColumn);
  // The first column is the one that users copy.
  const minimums = [ids, [ids[0] ?? 0, ...least.slice(1)], least];
  const widths = minimums.reduce((found, minimum) => narrowed(found, minimum, width), ofColumn(textWidth));
  const pad = (cell: string, column: number): string =>
    cell + ' '.repeat(Math.max(0, (widths[column] ?? 0) - textWidth(cell)));
  const lines = all.flatMap((row) => {
    const cells = row.map((cell, column) =>
      textWidth(cell) > (widths[column] ?? 0) ? pieces(cell, widths[column] ?? 0) : [cell],
    );
    return Array.from({ length: largest(cells.map((parts) => parts.length)) }, (_, index) =>
      cells.map((parts, column) => pad(parts[index] ?? '', column)).join('  '),
    );
  });
  return lines.map((line) => `${line.trimEnd()}\n`).join('');
}

/** Returns the columns of the longest part that `pieces` does not need to break. */
function longestWord(cell: string): number {
  return largest(cell.split(/(?<=[,/:@])| /u).map(textWidth));
}

/** Makes the widest columns narrower until a row has at most `width` columns, or all have their minimum. */
function narrowed(widths: readonly number[], minimum: readonly number[], width: number): readonly number[] {
  const found = [...widths];
  let excess = found.reduce((sum, each) => sum + each, 2 * (found.length - 1)) - width;
  while (excess > 0) {
    const wider = found.filter((each, column) => each > (minimum[column] ?? 0));
    const most = largest(wider);
    const column = found.findIndex((each, at) => each === most && each > (minimum[at] ?? 0));
    if (column < 0) break;
    const next = largest([minimum[column] ?? 0, ...wider.filter((each) => each < most)]);
    // Columns of one width share what is too much.
    const equal = wider.filter((each) => each === most).length;
    const less = Math.min(Math.max(1, Math.floor(excess / equal)), most - next);
    found[column] = most - less;
    excess -= less;
  }
  return found;
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
  return id.replace(/^sha256:/, '').slice(0, idWidth);
}
