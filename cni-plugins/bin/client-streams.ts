import { callWith } from '../../base/elf/index.ts';
import type { Assembler, Register } from '../../base/elf/index.ts';
import { memory } from './client-calls.ts';
import type { Calls } from './client-calls.ts';

/** How the thin client (client.ts) reads and writes: all of it, or to the end. */

export const MSG_NOSIGNAL = 0x4000;
export const EINTR = 4;
const EAGAIN = 11;
const [POLLIN, POLLOUT] = [1, 4];

export interface Emitter {
  /** Any constant; changes t. */
  add(to: Register, value: number): void;
  /** Sends s3 bytes from s4. */
  sendAll(label: string, failed: string): void;
  /** Writes s3 bytes from s4 and moves s4 behind them; an error ends it. */
  writeAll(label: string, fd: number): void;
  /** One read of at most `size` bytes into our memory; anything but all of it is a failure. */
  receive(label: string, from: Register, offset: number, size: number, failed: string): void;
  /**
   * Reads to the end, or until `size` bytes are there; s3 is how many.
   * @param from absent: standard input
   * @param more emitted after each piece; falls through to read the next one
   */
  readAll(label: string, from: Register | undefined, offset: number, size: number, done: string, failed: string, more?: () => void): void;
}

export function emitter(a: Assembler, sys: Calls): Emitter {
  const add: Emitter['add'] = (to, value) => {
    a.set('t', value);
    a.addRegister(to, 't');
  };
  /** For a descriptor that somebody made non-blocking. */
  const awaitReady = (fd: number, events: number): void => {
    // struct pollfd: fd, events, revents.
    a.set('t', fd);
    a.store32('t', 's2', memory.poll);
    a.set('t', events);
    a.store32('t', 's2', memory.poll + 4);
    a.copy('a0', 's2');
    add('a0', memory.poll);
    callWith(a, sys.ppoll, undefined, 1, 0, 0, 0);
  };
  return {
    add,
    sendAll(label, failed) {
      a.label(label);
      a.jumpIfZero('s3', `${label} done`);
      a.copy('a0', 's1');
      a.copy('a1', 's4');
      a.copy('a2', 's3');
      callWith(a, sys.sendto, undefined, undefined, undefined, MSG_NOSIGNAL, 0);
      a.jumpIfEqual('result', -EINTR, label);
      a.jumpIfNegative('result', failed);
      a.copy('t', 'result');
      a.addRegister('s4', 't');
      a.subtractRegister('s3', 't');
      a.jump(label);
      a.label(`${label} done`);
    },
    writeAll(label, fd) {
      a.label(label);
      a.jumpIfZero('s3', `${label} done`);
      a.set('a0', fd);
      a.copy('a1', 's4');
      a.copy('a2', 's3');
      a.call(sys.write);
      a.jumpIfEqual('result', -EINTR, label);
      a.jumpIfEqual('result', -EAGAIN, `${label} wait`);
      a.jumpIfNegative('result', `${label} failed`);
      a.copy('t', 'result');
      a.addRegister('s4', 't');
      a.subtractRegister('s3', 't');
      a.jump(label);
      a.label(`${label} wait`);
      awaitReady(fd, POLLOUT);
      a.jump(label);
      a.label(`${label} failed`);
      callWith(a, sys.exitGroup, 1);
      a.label(`${label} done`);
    },
    receive(label, from, offset, size, failed) {
      a.label(label);
      a.copy('a0', from);
      a.copy('a1', 's2');
      add('a1', offset);
      a.set('a2', size);
      a.call(sys.read);
      a.jumpIfEqual('result', -EINTR, label);
      a.jumpIfEqual('result', size, `${label} done`);
      a.jump(failed);
      a.label(`${label} done`);
    },
    readAll(label, from, offset, size, done, failed, more) {
      a.set('s3', 0);
      a.label(label);
      a.copy('a1', 's2');
      add('a1', offset);
      a.addRegister('a1', 's3');
      a.set('a2', size);
      a.subtractRegister('a2', 's3');
      a.jumpIfZero('a2', done);
      if (from === undefined) a.set('a0', 0);
      else a.copy('a0', from);
      a.call(sys.read);
      a.jumpIfZero('result', done);
      a.jumpIfEqual('result', -EINTR, label);
      if (from === undefined) a.jumpIfEqual('result', -EAGAIN, `${label} wait`);
      a.jumpIfNegative('result', failed);
      a.copy('t', 'result');
      a.addRegister('s3', 't');
      more?.();
      a.jump(label);
      if (from !== undefined) return;
      a.label(`${label} wait`);
      awaitReady(0, POLLIN);
      a.jump(label);
    },
  };
}
