/** The result of one step of an engine. */
export interface Step {
  readonly produced: number;
  /** Where the next step begins in the input. */
  readonly next: number;
  /** True when the stream has ended. What follows does not belong to it. */
  readonly ended: boolean;
}

/**
 * Inflates one stream into buffers that the caller owns. An engine accepts a stream, or refuses it without a
 * reason. Steps do not overlap.
 */
export interface Engine {
  /**
   * True if the next step runs in the thread of the caller: the last one only copied incompressible data, for
   * which a switch to another thread costs more than the work. Nothing is gained by an early start of it.
   */
  readonly isInline: boolean;
  /**
   * Inflates a part of `input` into `output` from `at` on. Returns when the part is used up, when `output` is
   * full, or at the end of the stream. The {@link headroom} bytes before `from` are the bytes of the stream
   * before it.
   * @throws Refused
   */
  step(input: Buffer, from: number, to: number, output: Buffer, at: number): Promise<Step>;
  /**
   * Ends the input. May still produce output; `ended` is false when `output` is full. The {@link headroom}
   * bytes before `from` are the last ones of the stream.
   * @throws Refused if the stream is not complete
   */
  finish(input: Buffer, from: number, output: Buffer, at: number): Promise<Step>;
  /** Releases what the engine holds, after the last step has ended. */
  close(): void;
}

/** Bytes that a step may produce from what earlier steps read: an inflater keeps its last 32 KiB. */
const keptBytes = 64 * 1024;

/**
 * Returns whether a step produced hardly more bytes than it read. The next step then takes as long as a copy
 * of its bytes, because a deflater stores what it cannot compress.
 */
export function onlyCopied(read: number, produced: number): boolean {
  return produced <= read * 1.06 + keptBytes;
}

/** Bytes of the stream that each buffer of input keeps before its first new byte. */
export const headroom = 16;

/** The engine does not accept the stream. It is caught in this folder. */
export class Refused extends Error {}
