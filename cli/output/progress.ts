import type { OutputFormat } from './output.ts';
import { printableText } from './printable.ts';
import { size } from './size.ts';

/** Reports how far a long command is, on standard error. */
export interface Progress {
  /**
   * Reports a state. At most one line a second is written, and none for what is done within a second.
   * @param note what is in progress, such as a name
   */
  update(state: { readonly bytes: number; readonly totalBytes: number }, note?: string): void;
}

const intervalMs = 1000;

/**
 * Creates the progress of a command. With the output format `json`, each line is a JSON object.
 * @param done the word for what is done with the bytes: `pushed`
 * @param now milliseconds
 * @param write receives each line
 */
export function createProgress(
  format: OutputFormat,
  done: string,
  now: () => number = () => performance.now(),
  write: (line: string) => void = (line) => void process.stderr.write(line),
): Progress {
  const begun = now();
  let last = begun;
  return {
    update({ bytes, totalBytes }, note) {
      const at = now();
      if (at - last < intervalMs) return;
      last = at;
      const rate = (bytes * 1000) / (at - begun);
      const left = rate === 0 ? undefined : Math.max(0, totalBytes - bytes) / rate;
      write(
        format === 'json'
          ? event(done, bytes, totalBytes, rate, left, note)
          : line(done, bytes, totalBytes, rate, left, note),
      );
    },
  };
}

function line(
  done: string,
  bytes: number,
  totalBytes: number,
  rate: number,
  left: number | undefined,
  note: string | undefined,
): string {
  const time = left === undefined ? '' : `, ${duration(left)} left`;
  const about = note === undefined ? '' : ` (${note.replaceAll('\n', '?')})`;
  return `${printableText(`${done} ${size(bytes)} of ${size(totalBytes)}, ${size(rate)}/s${time}${about}`)}\n`;
}

function event(
  done: string,
  bytes: number,
  totalBytes: number,
  rate: number,
  secondsLeft: number | undefined,
  note: string | undefined,
): string {
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

function duration(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  return whole < 3600
    ? `${Math.floor(whole / 60)} min ${whole % 60} s`
    : `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
