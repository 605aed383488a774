import { Socket } from 'node:net';
import { closeFd, openPipe } from '../../../base/kernel/index.ts';

/** A pipe that collects what a program writes. */
export interface Output {
  /** The descriptor for the program. */
  readonly write: number;
  closeWrite(): void;
  /**
   * Resolves at the end of the stream, or after `ms`. Output that the program's children write later is
   * dropped.
   */
  ended(ms: number): Promise<void>;
  text(): string;
  close(): void;
}

/** Opens a pipe. @param full called once when more than `limit` bytes arrive; the rest is dropped */
export function openOutput(limit: number, full: () => void): Output {
  const pipe = openPipe();
  const socket = new Socket({ fd: pipe.read, readable: true, writable: false });
  const chunks: Buffer[] = [];
  let room = limit;
  let writeOpen = true;
  socket.on('data', (chunk: Buffer) => {
    if (room >= 0 && chunk.length > room) full();
    if (room > 0) chunks.push(chunk.subarray(0, room));
    room = chunk.length > room ? -1 : room - chunk.length;
  });
  socket.on('error', () => socket.destroy());
  socket.once('end', () => socket.destroy());
  const over = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  const closeWrite = (): void => {
    if (writeOpen) closeFd(pipe.write);
    writeOpen = false;
  };
  return {
    write: pipe.write,
    closeWrite,
    async ended(ms) {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)));
      await Promise.race([over, late]);
      clearTimeout(timer);
    },
    text: () => Buffer.concat(chunks).toString('utf8'),
    close() {
      closeWrite();
      socket.destroy();
    },
  };
}
