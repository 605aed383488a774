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

/** Bytes of the stream that each buffer of input keeps before its first new byte. */
export const headroom = 16;

/** The engine does not accept the stream. It is caught in this folder. */
export class Refused extends Error {}
