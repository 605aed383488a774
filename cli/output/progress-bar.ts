import { createLogUpdate } from 'log-update';
import { duration } from './duration.ts';
import { printable } from './printable.ts';
import { size } from './size.ts';
import { textWidth } from './terminal.ts';
import type { Paper } from './terminal.ts';

/** How far a command is. */
export interface Advance {
  readonly bytes: number;
  readonly totalBytes: number;
  /** Bytes in a second, on average since the first report. */
  readonly rate: number;
  /** Undefined while the rate is unknown. */
  readonly secondsLeft: number | undefined;
  /** The object in progress, such as a name. */
  readonly note: string | undefined;
}

const barColumns = 24;
/** A note that would be cut to fewer columns is left out. */
const leastNote = 12;

/**
 * Returns one line that fits the terminal: the word, a bar, the percentage, the bytes, the rate, the time
 * left and the note. Where there is no space for all of it, the last parts are left out first.
 * @param width columns of the terminal
 */
export function barLine(done: string, advance: Advance, width: number, unicode: boolean): string {
  const { bytes, totalBytes, rate, secondsLeft, note } = advance;
  const part = totalBytes === 0 ? 1 : Math.min(1, bytes / totalBytes);
  const [full, empty] = unicode ? ['█', '░'] : ['#', '-'];
  const filled = Math.floor(part * barColumns);
  const bar = `${full.repeat(filled)}${empty.repeat(barColumns - filled)}`;
  const parts = [
    done,
    bar,
    `${Math.floor(part * 100)} %`.padStart(5),
    `${size(bytes)} of ${size(totalBytes)}`,
    `${size(rate)}/s`,
    ...(secondsLeft === undefined ? [] : [`${duration(secondsLeft)} left`]),
  ];
  let line = '';
  for (const next of parts) {
    const longer = line === '' ? next : `${line}  ${next}`;
    // The last column stays free: a terminal may wrap a line that fills it.
    if (textWidth(longer) >= width) return line.slice(0, Math.max(0, width - 1));
    line = longer;
  }
  const left = width - 1 - textWidth(line) - 2;
  if (note === undefined || left < leastNote) return line;
  return `${line}  ${cut(printable(note), left, unicode)}`;
}

function cut(text: string, columns: number, unicode: boolean): string {
  if (textWidth(text) <= columns) return text;
  const end = unicode ? '…' : '~';
  let kept = '';
  for (const character of text) {
    if (textWidth(kept) + textWidth(character) + 1 > columns) break;
    kept += character;
  }
  return `${kept}${end}`;
}

/** A line of a terminal that is drawn again and again. */
export interface Bar {
  draw(advance: Advance): void;
  /** Removes the line, so that the result takes its place. */
  clear(): void;
}

/** Opens a bar on a terminal. */
export function openBar(stream: NodeJS.WriteStream, paper: Pick<Paper, 'unicode'>, done: string): Bar {
  const update = createLogUpdate(stream, { showCursor: true });
  return {
    draw: (advance) => update(barLine(done, advance, stream.columns, paper.unicode)),
    clear: () => update.clear(),
  };
}
