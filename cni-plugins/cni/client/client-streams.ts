import { callWith } from '../../../base/elf/index.ts';
import type { Assembler, Place, Register } from '../../../base/elf/index.ts';
import { memory } from './client-calls.ts';
import type { Calls } from './client-calls.ts';

/** How the thin client (client.ts) reads and writes completely, or up to the end of a stream. */

export const MSG_NOSIGNAL = 0x4000;
export const EINTR = 4;
export const EAGAIN = 11;
export const POLLIN = 1;
const POLLOUT = 4;

export interface Emitter {
  /** Adds any constant; changes t. */
  add(to: Register, value: number): void;
  /** Sends s3 bytes from s4. */
  sendAll(label: string, failed: string): void;
  /** Writes s3 bytes from s4 and advances s4; an error ends it. */
  writeAll(label: string, fd: number): void;
  /**
   * Reads at most `size` bytes into our memory in one call. Anything less than the full size is a failure.
   */
  receive(label: string, from: Register, offset: number, size: number, failed: string): void;
  /** Waits until a descriptor is ready, or for at most `patience` (struct timespec); like poll(2). */
  poll(fd: number, events: number, patience?: Place): void;
  /**
   * Reads to the end, or until `size` bytes have arrived; s3 is the count, before and after.
   * @param from absent: standard input
   * @param more emitted after each piece; falls through to read the next one
   */
  readAll(
    label: string,
    from: Register | undefined,
    offset: number,
    size: number,
    done: string,
    failed: string,
    more?: () => void,
  ): void;
}

export function emitter(a: Assembler, sys: Calls): Emitter {
  const add: Emitter['add'] = (to, value) => {
    a.set('t', value);
    a.addRegister(to, 't');
  };
  const poll: Emitter['poll'] = (fd, events, patience) => {
    // struct pollfd: fd, events, revents.
    a.set('t', fd);
    a.store32('t', 's2', memory.poll);
    a.set('t', events);
    a.store32('t', 's2', memory.poll + 4);
    a.copy('a0', 's2');
    add('a0', memory.poll);
    callWith(a, sys.ppoll, undefined, 1, patience?.at ?? 0, 0, 0);
  };
  return {
    add,
    poll,
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
      // Another process made the descriptor non-blocking.
      poll(fd, POLLOUT);
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
      poll(0, POLLIN);
      a.jump(label);
    },
  };
}
