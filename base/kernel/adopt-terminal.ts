import { Readable } from 'node:stream';
import type { Socket } from 'node:net';
import { adopt } from './adopt.ts';

/** A terminal's master, as its two directions. */
export interface AdoptedTerminal {
  /** What its programs write. Ends when the last of them has gone, after all that they wrote. */
  readonly output: Readable;
  /** What a person types. Destroying it hangs the terminal up. */
  readonly input: Socket;
  /** The descriptor's own number: valid until `input` is destroyed. */
  readonly fd: number;
}

const readBytes = 64 * 1024;

/**
 * Takes the master of a terminal. A terminal's last word is EIO, which is an error to Node: a socket drops what its reader has not
 * taken yet, so the output has a stream of its own. Reads no further ahead than that stream holds.
 */
export function adoptTerminal(master: number): AdoptedTerminal {
  const output = new Readable({ highWaterMark: readBytes, read: () => void adopted.socket.resume() });
  const adopted = adopt(master, {
    buffer: Buffer.allocUnsafeSlow(readBytes),
    // The buffer is used again for the next read. False: nothing more is read until the stream asks.
    callback: (length, buffer) => output.push(Buffer.from(buffer.subarray(0, length))),
  });
  adopted.socket.on('error', () => adopted.socket.destroy());
  adopted.socket.once('end', () => adopted.socket.destroy());
  adopted.socket.once('close', () => output.push(null));
  output.once('close', () => adopted.socket.destroy());
  return { output, input: adopted.socket, fd: adopted.fd };
}
