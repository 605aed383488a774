import { close, constants, open, read } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { promisify } from 'node:util';
import { cachedRead } from './cached-read.ts';
import { headroom } from './engine.ts';
import { freeBuffer } from './free-buffer.ts';

const inputBytes = 256 * 1024;
const openFile = promisify(open);

/** A part of a file, in a buffer that is used again. */
export interface Part {
  readonly buffer: Buffer;
  /** The {@link headroom} bytes before it are the bytes of the file before it. */
  readonly from: number;
  readonly to: number;
}

/**
 * Reads one file from its start to its end into two buffers. Parts in the page cache are read when they are
 * requested, in the thread of the caller: that costs less than to pass them between two threads. From the
 * first part that has to come from the disk on, a thread of libuv's pool reads one part ahead of the caller.
 */
export interface ReadAhead {
  /**
   * Returns the next part, which is empty at the end of the file. The part before it is overwritten. Other
   * events of the thread have their turn first.
   */
  next(): Promise<Part>;
  /** Closes the file when the read that is under way has ended. */
  close(): void;
}

/**
 * Opens a file for {@link ReadAhead}.
 * @param signal ends a `next` that waits for the disk
 * @throws the error of open(2); `next` throws that of read(2), or the signal's reason
 */
export async function readAhead(path: string, signal: AbortSignal): Promise<ReadAhead> {
  signal.throwIfAborted();
  const fd = await openFile(path, constants.O_RDONLY | constants.O_NOCTTY);
  const buffers = [
    Buffer.allocUnsafeSlow(headroom + inputBytes),
    Buffer.allocUnsafeSlow(headroom + inputBytes),
  ] as const;
  let filling: 0 | 1 = 0;
  let lastEnd = headroom;
  const readCached = cachedRead();
  let reading: Reading | undefined;
  const stop = (): void => {
    reading?.part.reject(signal.reason);
  };
  signal.addEventListener('abort', stop);

  /** Starts to read the next part. */
  function fill(): Reading {
    const [part, over] = [Promise.withResolvers<number>(), Promise.withResolvers<undefined>()];
    // Nobody may ask for the part.
    part.promise.catch(() => undefined);
    read(fd, buffers[filling], headroom, inputBytes, null, (failure, bytes) => {
      over.resolve(undefined);
      if (failure === null) part.resolve(bytes);
      else part.reject(failure);
    });
    return { part, over: over.promise };
  }

  /** Returns the number of bytes of the next part. */
  async function filled(): Promise<number> {
    if (reading === undefined) {
      const bytes = readCached(fd, buffers[filling], headroom, inputBytes);
      if (bytes !== undefined) {
        await turn();
        signal.throwIfAborted();
        return bytes;
      }
      reading = fill();
    }
    return reading.part.promise;
  }

  return {
    async next() {
      signal.throwIfAborted();
      const bytes = await filled();
      const buffer = buffers[filling];
      const before = buffers[filling === 0 ? 1 : 0];
      before.copy(buffer, 0, lastEnd - headroom, lastEnd);
      lastEnd = headroom + bytes;
      filling = filling === 0 ? 1 : 0;
      if (bytes > 0 && reading !== undefined) reading = fill();
      return { buffer, from: headroom, to: headroom + bytes };
    },
    close() {
      signal.removeEventListener('abort', stop);
      const release = (): void => {
        close(fd, () => undefined);
        for (const buffer of buffers) freeBuffer(buffer);
      };
      if (reading === undefined) release();
      else void reading.over.then(release);
    },
  };
}

/** One read(2) that is under way. */
interface Reading {
  /** The bytes that it has read. Rejected early by the signal. */
  readonly part: PromiseWithResolvers<number>;
  /** Resolved when the buffer and the descriptor are not in use any more. */
  readonly over: Promise<undefined>;
}
