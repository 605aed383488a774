import type { Readable, Writable } from 'node:stream';
import { setImmediate, setTimeout as pause } from 'node:timers/promises';

/** How long background processes that hold a command's output and are silent may keep its session after its end. */
const quietMs = 200;
/** What can have been in a pipe at a command's end: its largest size without privilege (pipe(7)). The rest is of background processes. */
const largestPipe = 1024 * 1024;

/** A command's output on its way to the client. */
export interface OutputPump {
  /** After the command's end: resolves when all that it wrote is with the sink, however slow that is; what others still write is cut off. */
  settle(): Promise<void>;
}

/**
 * Copies, and reads no faster than the sink takes. A sink that is gone takes everything: the command is not held up by it.
 * The end of the source does not end the sink.
 * @param allowed nothing is read before it is known; when it is false everything is dropped
 */
export function pumpOutput(source: Readable, target: Writable | undefined, allowed: Promise<boolean> = Promise.resolve(true)): OutputPump {
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
        // A loop that was held up fires its timers before it reads.
        await setImmediate();
        await setImmediate();
        if (chunks === before && !blocked) break;
      }
      source.destroy();
    },
  };
}

/**
 * Copies the client's input and ends the sink with it. A sink that is gone (the command has closed its input, or ended) lets the
 * client go on: what it sends is dropped.
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
