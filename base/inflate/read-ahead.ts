import { close, constants, open, read } from 'node:fs';
import { promisify } from 'node:util';
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

/** Reads one file from its start to its end, one part ahead of its user, into two buffers. */
export interface ReadAhead {
  /** Returns the next part, which is empty at the end of the file. The part before it is overwritten. */
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
  let reading = fill();
  const stop = (): void => {
    reading.part.reject(signal.reason);
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

  return {
    async next() {
      signal.throwIfAborted();
      const bytes = await reading.part.promise;
      const buffer = buffers[filling];
      const before = buffers[filling === 0 ? 1 : 0];
      before.copy(buffer, 0, lastEnd - headroom, lastEnd);
      lastEnd = headroom + bytes;
      filling = filling === 0 ? 1 : 0;
      if (bytes > 0) reading = fill();
      return { buffer, from: headroom, to: headroom + bytes };
    },
    close() {
      signal.removeEventListener('abort', stop);
      void reading.over.then(() => {
        close(fd, () => undefined);
        for (const buffer of buffers) freeBuffer(buffer);
      });
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
