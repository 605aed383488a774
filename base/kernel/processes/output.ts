import { Socket } from 'node:net';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { closeFd } from '../files/files.ts';
import { openPipe } from './spawn.ts';

/** A pipe that collects the output of a child. */
export interface CollectedOutput {
  /** The end for the child. `closeWrite` closes our copy once the child has it. */
  readonly write: number;
  closeWrite(): void;
  /** Resolves at the end of the stream, when no data has come for `quietMs`, or after `ms`. */
  ended(ms: number, quietMs?: number): Promise<void>;
  bytes(): Buffer;
  /** Forgets the bytes that it has kept. */
  discard(): void;
  close(): void;
}

/** How many more bytes are kept. Outputs that are returned together share one. */
export interface OutputRoom {
  bytes: number;
}

/**
 * Opens a pipe for the output of a child.
 * @param room limits the bytes that are kept; further output is read and dropped, so that the child does not
 * stall
 * @param full called once when the first byte is dropped
 */
export function openOutput(room: OutputRoom, full?: () => void): CollectedOutput {
  const pipe = openPipe();
  const socket = new Socket({ fd: pipe.read, readable: true, writable: false });
  const chunks: Buffer[] = [];
  let writeOpen = true;
  let received = 0;
  let isFull = false;
  socket.on('data', (chunk: Buffer) => {
    received += 1;
    if (chunk.length > room.bytes && !isFull) {
      isFull = true;
      full?.();
    }
    if (room.bytes <= 0) return;
    const kept = chunk.subarray(0, room.bytes);
    chunks.push(kept);
    room.bytes -= kept.length;
  });
  // A reader that fails counts as finished.
  socket.on('error', () => socket.destroy());
  const over = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.once('end', () => socket.destroy());
  const closeWrite = (): void => {
    if (writeOpen) closeFd(pipe.write);
    writeOpen = false;
  };
  return {
    write: pipe.write,
    closeWrite,
    ended: async (ms, quietMs = ms) => {
      const deadline = performance.now() + ms;
      const finished = over.then(() => true);
      for (let before = -1; before !== received && performance.now() < deadline;) {
        before = received;
        if (await Promise.race([finished, quiet(Math.min(quietMs, deadline - performance.now()))])) return;
      }
    },
    bytes: () => Buffer.concat(chunks),
    discard: () => void (chunks.length = 0),
    close: () => {
      closeWrite();
      socket.destroy();
    },
  };
}

/**
 * Opens two outputs, or none if the second cannot be opened.
 * @param full called when an output drops its first byte
 * @throws KERNEL_<ERRNO>
 */
export function openOutputs(
  first: OutputRoom,
  second: OutputRoom,
  full?: () => void,
): readonly [CollectedOutput, CollectedOutput] {
  const output = openOutput(first, full);
  try {
    return [output, openOutput(second, full)];
  } catch (cause) {
    output.close();
    throw cause;
  }
}

/**
 * Resolves after `ms` and one full turn of the event loop, because a delayed event loop fires its timers
 * before it reads.
 */
async function quiet(ms: number): Promise<false> {
  await setTimeout(Math.max(0, ms));
  await setImmediate();
  await setImmediate();
  return false;
}
