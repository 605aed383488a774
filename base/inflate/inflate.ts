import { Refused } from './engine.ts';
import type { Engine, Step } from './engine.ts';
import { freeBuffer } from './free-buffer.ts';
import { readAhead } from './read-ahead.ts';
import type { Part, ReadAhead } from './read-ahead.ts';

/**
 * Large enough that the switches between two threads cost little, small enough for the cache of a processor.
 */
const outputBytes = 512 * 1024;

/**
 * Returns the bytes of a file. A chunk is valid until the next one is requested, because its buffer is used
 * again.
 * @param signal ends the reading; the generator throws its reason
 * @throws the error of the file system
 */
export async function* readChunks(path: string, signal: AbortSignal): AsyncGenerator<Buffer, void> {
  const input = await readAhead(path, signal);
  try {
    for (let part = await input.next(); part.from < part.to; part = await input.next()) {
      yield part.buffer.subarray(part.from, part.to);
      signal.throwIfAborted();
    }
  } finally {
    input.close();
  }
}

/**
 * Returns the inflated bytes of a file. A chunk is valid until the next one is requested: there are two
 * buffers, and a thread of libuv's pool fills one while the caller reads the other. A chunk whose bytes are
 * only copied is filled in the thread of the caller, into the buffer that this thread used last.
 * @param create starts the engine, which is closed here
 * @param signal ends the work between two steps; the generator throws its reason
 * @throws Refused if the engine does not accept the stream; what came before belongs to the stream
 * @throws the error of the file system
 */
export async function* inflateChunks(
  path: string,
  create: () => Engine,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void> {
  const input = await readAhead(path, signal);
  const engine = create();
  const filler = createFiller(engine, input, signal);
  const buffers = [Buffer.allocUnsafeSlow(outputBytes), Buffer.allocUnsafeSlow(outputBytes)] as const;
  let turn: 0 | 1 = 0;
  let filling = filler.fill(buffers[turn]);
  try {
    for (;;) {
      const { bytes, ended } = await filling;
      const chunk = buffers[turn].subarray(0, bytes);
      const isInline = engine.isInline;
      if (!ended && !isInline) {
        turn = turn === 0 ? 1 : 0;
        filling = filler.fill(buffers[turn]);
        // A failure is thrown when the caller asks for the next chunk, or not at all.
        filling.catch(() => undefined);
      }
      if (bytes > 0) yield chunk;
      signal.throwIfAborted();
      if (ended) return;
      if (isInline) filling = filler.fill(buffers[turn]);
    }
  } finally {
    filler.stop();
    const release = (): void => {
      engine.close();
      input.close();
      for (const buffer of buffers) freeBuffer(buffer);
    };
    // A thread of the pool may still use them.
    filling.then(release, release);
  }
}

interface Filler {
  /** Fills the buffer, unless the stream ends before. @throws Refused */
  fill(output: Buffer): Promise<{ readonly bytes: number; readonly ended: boolean }>;
  /** Makes a `fill` that is running fail after its step. */
  stop(): void;
}

function createFiller(engine: Engine, input: ReadAhead, signal: AbortSignal): Filler {
  let part: Part | undefined;
  let from = 0;
  let isStopped = false;

  /** One step, on the next part of the input if the last part is used up. */
  async function step(output: Buffer, at: number): Promise<Step> {
    if (part === undefined || (from >= part.to && part.from < part.to)) {
      part = await input.next();
      from = part.from;
    }
    const { buffer, to } = part;
    const isEnd = part.from === to;
    const done = isEnd
      ? await engine.finish(buffer, from, output, at)
      : await engine.step(buffer, from, to, output, at);
    // It would be called forever.
    if (!done.ended && done.produced === 0 && (isEnd || done.next <= from)) throw new Refused();
    from = done.next;
    return done;
  }

  return {
    async fill(output) {
      let bytes = 0;
      while (bytes < output.length) {
        signal.throwIfAborted();
        if (isStopped) throw new Refused();
        const { produced, ended } = await step(output, bytes);
        bytes += produced;
        if (ended) return { bytes, ended };
      }
      return { bytes, ended: false };
    },
    stop() {
      isStopped = true;
    },
  };
}
