import type { Machine } from '../../../base/elf/index.ts';
import { headSize, maxAnswer } from '../server/frames.ts';
import { maxStdin } from '../../spec/call.ts';

/** The system calls of the thin client (client.ts), and the layout of its memory. */

type CallName =
  | 'brk'
  | 'close'
  | 'connect'
  | 'dup3'
  | 'execve'
  | 'exitGroup'
  | 'fcntl'
  | 'lseek'
  | 'memfdCreate'
  | 'ppoll'
  | 'read'
  | 'sendmsg'
  | 'sendto'
  | 'setsockopt'
  | 'shutdown'
  | 'socket'
  | 'write';
export type Calls = Readonly<Record<CallName, number>>;

/** Numbers of the system calls (asm/unistd_64.h, asm-generic/unistd.h). */
export const calls: Readonly<Record<Machine, Calls>> = {
  x86_64: {
    ...{ brk: 12, close: 3, connect: 42, dup3: 292, execve: 59, exitGroup: 231, fcntl: 72, lseek: 8 },
    ...{
      memfdCreate: 319,
      ppoll: 271,
      read: 0,
      sendmsg: 46,
      sendto: 44,
      setsockopt: 54,
      shutdown: 48,
      socket: 41,
      write: 1,
    },
  },
  aarch64: {
    ...{ brk: 214, close: 57, connect: 203, dup3: 24, execve: 221, exitGroup: 94, fcntl: 25, lseek: 62 },
    ...{
      memfdCreate: 279,
      ppoll: 73,
      read: 63,
      sendmsg: 211,
      sendto: 206,
      setsockopt: 208,
      shutdown: 210,
      socket: 198,
      write: 64,
    },
  },
};

/**
 * Offsets in the memory of `s2`: buffers for system calls and for assembled data. The input follows its
 * length.
 */
export const memory = {
  address: 0,
  head: 128,
  greeting: 152,
  poll: 160,
  message: 168,
  parts: 224,
  vector: 272,
  wasLost: 1008,
  inputLength: 1016,
  input: 1024,
};
export const answerAt = memory.input + Math.ceil((maxStdin + 1) / 8) * 8;
export const memorySize = answerAt + headSize + maxAnswer + 1;
