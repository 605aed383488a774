import type { OutputFormat } from './output.ts';
import { printableText } from './printable.ts';
import { duration } from './duration.ts';
import type { Advance, Bar } from './progress-bar.ts';
import { size } from './size.ts';
import { paperFor } from './terminal.ts';

/**
 * Reports how far a command is.
 * @param note what is in progress, such as a name
 */
export type ReportProgress = (
  state: { readonly bytes: number; readonly totalBytes: number },
  note?: string,
) => void;

/** A line is written this often, and a bar is drawn this often, in ms. */
const lineMs = 1000;
const barMs = 100;
/** A command that takes less time than this shows no bar, in ms. */
const barAfterMs = 300;

/**
 * Runs a command that may take long, and shows on standard error how far it is: a bar on a terminal, a line
 * a second in a pipe, and a JSON object a second with the output format `json`. The bar is removed at the
 * end.
 * @param done the word for what is done with the bytes: `pushed`
 */
export async function withProgress<T>(
  format: OutputFormat,
  done: string,
  body: (report: ReportProgress) => Promise<T>,
): Promise<T> {
  const paper = paperFor(process.stderr, process.env);
  // On a terminal without a size, a line cannot be redrawn.
  if (format === 'json' || !paper.live || process.stderr.columns === 0) {
    const lines = createProgress(format, done, (line) => void process.stderr.write(line));
    const result = await body(lines.report);
    lines.end();
    return result;
  }
  // The library is not loaded for programs.
  const { openBar } = await import('./progress-bar.ts');
  const bar = openBar(process.stderr, paper, done);
  try {
    return await body(createBarProgress(bar));
  } finally {
    bar.clear();
  }
}

/** Lines about the progress of a command. */
interface ProgressLines {
  /** Writes at most one line a second, and none for what is done within a second. */
  readonly report: ReportProgress;
  /** Writes the last state, if the last line has an earlier one. */
  end(): void;
}

/**
 * Returns a writer of progress lines.
 * @param write receives each line
 * @param now milliseconds
 */
export function createProgress(
  format: OutputFormat,
  done: string,
  write: (line: string) => void,
  now: () => number = () => performance.now(),
): ProgressLines {
  const advanceAt = createRate(now());
  let last: Parameters<ReportProgress>[0] | undefined;
  let written: number | undefined;
  const writeState: ReportProgress = (state, note) => {
    written = state.bytes;
    const advance = advanceAt(state, note, now());
    write(format === 'json' ? event(done, advance) : line(done, advance));
  };
  const report = atMostEvery(lineMs, lineMs, now, writeState);
  return {
    report(state, note) {
      last = { ...state };
      report(state, note);
    },
    end() {
      if (last !== undefined && written !== undefined && written !== last.bytes) writeState(last);
    },
  };
}

/** Returns a report that draws a bar. @param now milliseconds */
export function createBarProgress(
  bar: Pick<Bar, 'draw'>,
  now: () => number = () => performance.now(),
): ReportProgress {
  const advanceAt = createRate(now());
  return atMostEvery(barAfterMs, barMs, now, (state, note) => bar.draw(advanceAt(state, note, now())));
}

function atMostEvery(
  afterMs: number,
  everyMs: number,
  now: () => number,
  report: ReportProgress,
): ReportProgress {
  let next = now() + afterMs;
  return (state, note) => {
    const at = now();
    if (at < next) return;
    next = at + everyMs;
    report(state, note);
  };
}

/** Returns a function that adds the average rate since `begun` to a state. */
function createRate(
  begun: number,
): (state: Parameters<ReportProgress>[0], note: string | undefined, at: number) => Advance {
  return ({ bytes, totalBytes }, note, at) => {
    const rate = at === begun ? 0 : (bytes * 1000) / (at - begun);
    const secondsLeft = rate === 0 ? undefined : Math.max(0, totalBytes - bytes) / rate;
    return { bytes, totalBytes, rate, secondsLeft, note };
  };
}

function line(done: string, { bytes, totalBytes, rate, secondsLeft, note }: Advance): string {
  const time = secondsLeft === undefined ? '' : `, ${duration(secondsLeft)} left`;
  const about = note === undefined ? '' : ` (${note.replaceAll('\n', '?')})`;
  const speed = rate === 0 ? '' : `, ${size(rate)}/s`;
  return `${printableText(`${done} ${size(bytes)} of ${size(totalBytes)}${speed}${time}${about}`)}\n`;
}

function event(done: string, { bytes, totalBytes, rate, secondsLeft, note }: Advance): string {
  const fields = {
    event: 'progress',
    done,
    bytes,
    totalBytes,
    bytesPerSecond: Math.round(rate),
    ...(secondsLeft === undefined ? {} : { secondsLeft: Math.ceil(secondsLeft) }),
    ...(note === undefined ? {} : { note }),
  };
  return `${JSON.stringify(fields)}\n`;
}
