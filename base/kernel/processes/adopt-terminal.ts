import { Readable } from 'node:stream';
import type { Socket } from 'node:net';
import { adopt } from './adopt.ts';

/** A terminal's master, split into its two directions. */
export interface AdoptedTerminal {
  /**
   * The output of its programs. It ends after the last program has closed the terminal and all output is
   * read.
   */
  readonly output: Readable;
  /** The input that a user types. Destroying it hangs up the terminal. */
  readonly input: Socket;
  /** The descriptor's own number. Valid until `input` is destroyed. */
  readonly fd: number;
}

const readBytes = 64 * 1024;

/**
 * Takes ownership of a terminal's master. A terminal ends with EIO, which Node treats as an error: a socket
 * then drops data that its reader has not taken yet. Therefore the output has its own stream. It reads no
 * further ahead than that stream's buffer.
 */
export function adoptTerminal(master: number): AdoptedTerminal {
  const output = new Readable({ highWaterMark: readBytes, read: () => void adopted.socket.resume() });
  const adopted = adopt(master, {
    buffer: Buffer.allocUnsafeSlow(readBytes),
    // The buffer is reused for the next read. false: nothing more is read until the stream asks.
    callback: (length, buffer) => output.push(Buffer.from(buffer.subarray(0, length))),
  });
  adopted.socket.on('error', () => adopted.socket.destroy());
  adopted.socket.once('end', () => adopted.socket.destroy());
  adopted.socket.once('close', () => output.push(null));
  output.once('close', () => adopted.socket.destroy());
  return { output, input: adopted.socket, fd: adopted.fd };
}
