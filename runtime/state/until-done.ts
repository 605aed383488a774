const firstPauseMs = 100;
const longestPauseMs = 30_000;

/**
 * Repeats `act` until it succeeds: at once, then after pauses that double from 0.1 s to 30 s. For what must come to its end although nobody
 * asks for it again, such as the record of an exit on a disk that is full.
 * @param failed is told of every failure; the first attempt is 1
 */
export async function untilDone(input: {
  readonly act: () => Promise<void>;
  readonly sleep: (ms: number) => Promise<void>;
  /** Asked before each attempt: true ends the repetition. */
  readonly isOver: () => boolean;
  readonly failed: (cause: unknown, attempt: number) => void;
}): Promise<void> {
  let pause = firstPauseMs;
  for (let attempt = 1; !input.isOver(); attempt += 1) {
    try {
      return await input.act();
    } catch (cause) {
      input.failed(cause, attempt);
    }
    await input.sleep(pause);
    pause = Math.min(pause * 2, longestPauseMs);
  }
}
