import { Refused, headroom } from './engine.ts';
import type { Engine } from './engine.ts';

/** How {@link drive} cuts the input, and how large its buffer of output is. */
export interface Cuts {
  /** Returns the length of the next part. */
  readonly input: () => number;
  readonly output: number;
}

const canary = 0xa5;

/**
 * Inflates bytes in memory by an engine, in parts of any length, as `inflateChunks` does with a file. Returns
 * undefined if the engine refuses them. The buffers are as tight as they can be, and end in bytes that must
 * not change.
 * @param limit the most bytes that are returned before it gives up
 */
export async function drive(
  create: () => Engine,
  bytes: Buffer,
  { input, output }: Cuts,
  limit = 1 << 24,
): Promise<Buffer | undefined> {
  const engine = create();
  const out = Buffer.allocUnsafeSlow(output + 64).fill(canary);
  const parts: Buffer[] = [];
  let [done, filled, total] = [0, 0, 0];
  const flush = (): void => {
    parts.push(Buffer.from(out.subarray(0, filled)));
    total += filled;
    filled = 0;
    if (!out.subarray(output).every((byte) => byte === canary))
      throw new Error('the engine writes behind the output');
    if (total > limit) throw new Error('the engine returns too much');
  };
  try {
    for (;;) {
      const length = Math.min(bytes.length - done, Math.max(1, input()));
      const part = Buffer.alloc(headroom + length);
      bytes.copy(part, Math.max(0, headroom - done), Math.max(0, done - headroom), done + length);
      done += length;
      let from: number = headroom;
      do {
        const room = out.subarray(0, output);
        const step =
          length === 0
            ? await engine.finish(part, from, room, filled)
            : await engine.step(part, from, part.length, room, filled);
        if (!step.ended && step.produced === 0 && (length === 0 || step.next <= from)) throw new Refused();
        filled += step.produced;
        from = step.next;
        if (filled === output || step.ended) flush();
        if (step.ended) return Buffer.concat(parts);
      } while (length === 0 || from < part.length);
    }
  } catch (thrown) {
    if (thrown instanceof Refused) return undefined;
    throw thrown;
  } finally {
    engine.close();
  }
}
