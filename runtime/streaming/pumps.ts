import type { Readable, Writable } from 'node:stream';
import { setImmediate, setTimeout as pause } from 'node:timers/promises';

/**
 * How long silent background processes that hold a command's output may keep its session open after its end.
 */
const quietMs = 200;
/**
 * The maximum data in a pipe at a command's end: the largest size of a pipe without privilege (pipe(7)). Any
 * further data comes from background processes.
 */
const largestPipe = 1024 * 1024;

/** The copy of a command's output to the client. */
export interface OutputPump {
  /**
   * Call this after the command's end. Resolves when all of its output has reached the sink, however slow the
   * sink is. Output of other processes is cut off.
   */
  settle(): Promise<void>;
}

/**
 * Copies data, and reads no faster than the sink accepts it. A sink that no longer exists drops everything,
 * so that it does not block the command. The end of the source does not end the sink.
 * @param allowed no data is read before it is known; when it is false, all data is dropped
 */
export function pumpOutput(
  source: Readable,
  target: Writable | undefined,
  allowed: Promise<boolean> = Promise.resolve(true),
): OutputPump {
  let [chunks, bytes, blocked, over] = [0, 0, false, false];
  let sink = target;
  const resume = (): void => {
    blocked = false;
    source.resume();
  };
  source.on('data', (chunk: Buffer) => {
    chunks += 1;
    bytes += chunk.length;
    if (sink === undefined || !sink.writable || sink.write(chunk)) return;
    blocked = true;
    source.pause();
  });
  sink?.on('drain', resume);
  sink?.on('close', resume);
  const pending = allowed.then((yes) => {
    if (!yes) sink = undefined;
    source.resume();
  });
  source.pause();
  source.on('error', () => source.destroy());
  source.on('end', () => source.destroy());
  const closed = new Promise<void>((resolve) =>
    source.once('close', () => {
      over = true;
      resolve();
    }),
  );
  const isOver = (): boolean => over;
  return {
    settle: async () => {
      await pending;
      const last = bytes + largestPipe;
      while (!isOver() && bytes <= last) {
        const before = chunks;
        await Promise.race([closed, pause(quietMs)]);
        // An event loop that was delayed fires its timers before it reads.
        await setImmediate();
        await setImmediate();
        if (chunks === before && !blocked) break;
      }
      source.destroy();
    },
  };
}

/**
 * Copies the client's input, and ends the sink at its end. If the sink no longer exists (the command has
 * closed its input, or ended), the client can keep sending, and its data is dropped.
 */
export function pumpInput(source: Readable, sink: Writable): void {
  source.on('data', (chunk: Buffer) => {
    if (sink.writable && !sink.write(chunk)) source.pause();
  });
  sink.on('drain', () => source.resume());
  sink.on('close', () => source.resume());
  sink.on('error', () => sink.destroy());
  source.on('end', () => sink.end());
  source.on('close', () => {
    if (!source.readableEnded) sink.end();
  });
}
