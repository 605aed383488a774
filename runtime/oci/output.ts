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

/** How many bytes may still be kept; outputs that are answered together share one. */
export interface OutputRoom {
  bytes: number;
}

/** @param room for what is kept; what comes after is read and dropped, so that the child does not stall */
export function openOutput(room: OutputRoom): Output {
  const pipe = openPipe();
  const socket = new Socket({ fd: pipe.read, readable: true, writable: false });
  const chunks: Buffer[] = [];
  let writeOpen = true;
  socket.on('data', (chunk: Buffer) => {
    if (room.bytes <= 0) return;
    const kept = chunk.subarray(0, room.bytes);
    chunks.push(kept);
    room.bytes -= kept.length;
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
