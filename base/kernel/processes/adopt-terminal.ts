import { Readable, Writable } from 'node:stream';
import type { Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { closeFd } from '../files/files.ts';
import { hasHungUp } from '../polling/hangup.ts';
import { duplicateFd } from '../sockets/socket.ts';
import { adopt } from './adopt.ts';

/** A terminal's master, split into its two directions. */
export interface AdoptedTerminal {
  /**
   * The output of its programs. It ends when no program has the terminal open, `over` is fulfilled, and all
   * output is read.
   */
  readonly output: Readable;
  /** The input that a user types. Destroying it hangs up the terminal. */
  readonly input: Writable;
  /** A descriptor of the master. Valid until `input` is destroyed. */
  readonly fd: number;
}

const readBytes = 64 * 1024;
/** How often a terminal that no program has open is examined. */
const reopenedMs = 50;

/**
 * Takes ownership of a terminal's master. A terminal that no program has open ends with EIO, which Node
 * treats as an error: a socket then drops data that its reader has not taken yet. Therefore the output has
 * its own stream. It reads no further ahead than that stream's buffer.
 *
 * A program can close its terminal, continue, and open `/dev/tty` later. So another descriptor of the master
 * stays open, because the kernel sends SIGHUP when the last one is closed. Until a program opens the terminal
 * again, typed input waits.
 * @param over fulfilled when no program will open the terminal again
 */
export function adoptTerminal(master: number, over: Promise<unknown> = Promise.resolve()): AdoptedTerminal {
  const fd = duplicateFd(master);
  let isOver = false;
  const ended = over.then(() => (isOver = true));
  let current: Socket | undefined;
  let held: (() => void) | undefined;
  const output = new Readable({ highWaterMark: readBytes, read: () => void current?.resume() });
  const input = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      // Programs that have closed the terminal do not read what was typed for them.
      const write = (): void => void current?.write(chunk, () => done());
      if (current === undefined || current.destroyed) held = write;
      else write();
    },
    destroy: (reason, done) => {
      current?.destroy();
      closeFd(fd);
      done(reason);
    },
  });
  const open = (descriptor: number): void => {
    const { socket } = adopt(descriptor, {
      buffer: Buffer.allocUnsafeSlow(readBytes),
      // The buffer is reused for the next read. false: nothing more is read until the stream asks.
      callback: (length, buffer) => output.push(Buffer.from(buffer.subarray(0, length))),
    });
    const last = isOver;
    current = socket;
    socket.on('error', () => socket.destroy());
    socket.once('end', () => socket.destroy());
    socket.once('close', () => {
      current = undefined;
      if (last || input.destroyed) output.push(null);
      else void reopen();
    });
  };
  const reopen = async (): Promise<void> => {
    try {
      await Promise.race([ended, pause(reopenedMs)]);
      if (input.destroyed) return void output.push(null);
      open(duplicateFd(fd));
      if (held === undefined || hasHungUp(fd)) return;
      held();
      held = undefined;
    } catch {
      // The node has no descriptor left.
      input.destroy();
      output.push(null);
    }
  };
  open(master);
  output.once('close', () => input.destroy());
  return { output, input, fd };
}
