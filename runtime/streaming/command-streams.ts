import type { Readable, Writable } from 'node:stream';
import { parseJson } from '../../base/json/index.ts';
import type { Outcome } from './outcome.ts';

export interface WindowSize {
  readonly columns: number;
  readonly rows: number;
}

/** The client's end of an exec or attach session, whatever protocol the client uses. */
export interface CommandStreams {
  /** Ends when the client closes its input. */
  readonly stdin: Readable | undefined;
  readonly stdout: Writable | undefined;
  readonly stderr: Writable | undefined;
  /** Calls `listener` with each size that the client sends, including the first. */
  onResize(listener: (size: WindowSize) => void): void;
  /** Aborted when the client has disconnected, or is ended. */
  readonly gone: AbortSignal;
  /**
   * Sends the outcome after all output, and ends the session from this side. Resolves when the client has
   * closed. If this side closed first, the kernel would discard data that a slow reader has not read.
   */
  finish(outcome: Outcome): Promise<void>;
}

/**
 * How long a client that neither reads nor closes may keep a finished session. Same as k8s.io/cri-streaming.
 */
export const finishMs = 15 * 60_000;

/** Resolves when the signal is aborted, or after `ms`. */
export async function aborted(signal: AbortSignal, ms: number): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done);
  });
}

/**
 * Parses a terminal size as clients send it: `{"Width":80,"Height":24}`. Returns undefined if it is not a
 * size.
 */
export function parseSize(text: string): WindowSize | undefined {
  try {
    const { Width: columns, Height: rows } = parseJson(text) as {
      readonly Width?: unknown;
      readonly Height?: unknown;
    };
    return isSize(columns) && isSize(rows) ? { columns, rows } : undefined;
  } catch {
    return undefined;
  }
}

function isSize(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) > 0 && (value as number) < 65_536;
}

/** Finds whole JSON objects in a stream of them. client-go writes one per line, but does not guarantee it. */
export function sizeReader(listener: (size: WindowSize) => void): (text: string) => void {
  let held = '';
  return (text) => {
    held = (held + text).slice(-4096);
    for (let end = held.indexOf('}'); end !== -1; end = held.indexOf('}')) {
      const size = parseSize(held.slice(0, end + 1));
      held = held.slice(end + 1);
      if (size !== undefined) listener(size);
    }
  };
}
