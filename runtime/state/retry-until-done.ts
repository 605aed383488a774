const firstPauseMs = 100;
const longestPauseMs = 30_000;

/**
 * Repeats `act` until it succeeds: at once, then after pauses that double from 0.1 s to 30 s. For work that
 * must be finished although no caller requests it again, such as recording an exit on a full disk.
 * @param failed is called for every failure; the first attempt is 1
 */
export async function untilDone(input: {
  readonly act: () => Promise<void>;
  readonly sleep: (ms: number) => Promise<void>;
  /** Called before each attempt. True ends the repetition. */
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
