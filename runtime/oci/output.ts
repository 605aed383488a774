import { Socket } from 'node:net';
import { closeFd, openPipe } from '../../base/kernel/index.ts';

/** A pipe that collects what a child writes. */
export interface Output {
  /** For the child. Ours is closed by `closeWrite` once the child has it. */
  readonly write: number;
  closeWrite(): void;
  /** Resolves at the end of the stream, or after `ms`. */
  ended(ms: number): Promise<void>;
  bytes(): Buffer;
  close(): void;
}

/** @param limit bytes kept; what comes after is read and dropped, so that the child does not stall */
export function openOutput(limit: number): Output {
  const pipe = openPipe();
  const socket = new Socket({ fd: pipe.read, readable: true, writable: false });
  const chunks: Buffer[] = [];
  let size = 0;
  let writeOpen = true;
  socket.on('data', (chunk: Buffer) => {
    const room = limit - size;
    if (room <= 0) return;
    chunks.push(chunk.length > room ? chunk.subarray(0, room) : chunk);
    size += Math.min(chunk.length, room);
  });
  // A reader that fails ends like one that is done.
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
    ended: async (ms) => {
      let timer: NodeJS.Timeout | undefined;
      await Promise.race([over, new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)))]);
      clearTimeout(timer);
    },
    bytes: () => Buffer.concat(chunks),
    close: () => {
      closeWrite();
      socket.destroy();
    },
  };
}
