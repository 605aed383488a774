import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import type { Flaw } from './judge.ts';

/** The task of a child. */
export interface FuzzTask {
  readonly target: string;
  readonly seed: number;
  readonly milliseconds: number;
  /**
   * `fuzz`: runs for the given time. `replay`: reads each input of the corpus twice. `check`: reads the input
   * of that file, to see whether it is slow.
   */
  readonly mode: 'fuzz' | 'replay' | 'check';
  /** The file to which the child writes each input before it reads it: see `openProgress`. */
  readonly progress: string;
  /** Folder of inputs that earlier children found. */
  readonly found?: string;
  /** With `check`: the file of the input. */
  readonly input?: string;
}

export interface Finding extends Flaw {
  readonly target: string;
  readonly input: Uint8Array;
}

/** The messages of a child. */
export type FuzzMessage =
  | { readonly kind: 'finding'; readonly finding: Finding }
  /** An input that ran code that no earlier input ran. */
  | { readonly kind: 'new'; readonly input: Uint8Array }
  /**
   * An input that may be too slow, or need too much memory: a child that optimises code, or has little
   * memory, reads it again.
   */
  | { readonly kind: 'suspect'; readonly of: 'time' | 'memory'; readonly input: Uint8Array }
  | FuzzDone;

/** The last message of each task. Nothing that the target started is left then. */
export interface FuzzDone {
  readonly kind: 'done';
  readonly inputs: number;
  readonly blocks: number;
  readonly corpus: number;
}

const headBytes = 8;

/**
 * Writes each input to a file before it is read, with the count of inputs: the owner sees which input never
 * ended, or ended the child.
 */
export function openProgress(file: string): { begin(input: Buffer): void; close(): void } {
  const fd = openSync(file, 'w');
  const head = Buffer.alloc(headBytes);
  let count = 0;
  return {
    begin(input) {
      head.writeUInt32LE(++count, 0);
      head.writeUInt32LE(input.length, 4);
      writeSync(fd, Buffer.concat([head, input]), 0, headBytes + input.length, 0);
    },
    close: () => closeSync(fd),
  };
}

/** Returns the count of inputs that were begun, and the last of them. */
export function readProgress(file: string): { readonly count: number; readonly input: Buffer } {
  const fd = openSync(file, 'r');
  try {
    const head = Buffer.alloc(headBytes);
    if (readSync(fd, head, 0, headBytes, 0) < headBytes) return { count: 0, input: Buffer.alloc(0) };
    const input = Buffer.alloc(head.readUInt32LE(4));
    readSync(fd, input, 0, input.length, headBytes);
    return { count: head.readUInt32LE(0), input };
  } finally {
    closeSync(fd);
  }
}
