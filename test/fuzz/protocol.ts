import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import type { Flaw } from './judge.ts';

/** What a child gets at its start. */
export interface FuzzTask {
  readonly target: string;
  readonly seed: number;
  readonly milliseconds: number;
  /** `fuzz`: as long as it was told. `replay`: each input of the corpus twice. `check`: the input of that file, to see whether it is slow. */
  readonly mode: 'fuzz' | 'replay' | 'check';
  /** Where the child writes what it is about to read: see `openProgress`. */
  readonly progress: string;
  /** Folder of inputs that children before this one found. */
  readonly found?: string;
  /** With `check`: the file of the input. */
  readonly input?: string;
}

export interface Finding extends Flaw {
  readonly target: string;
  readonly input: Uint8Array;
}

/** What a child answers. */
export type FuzzMessage =
  | { readonly kind: 'finding'; readonly finding: Finding }
  /** An input that ran code which none before it ran. */
  | { readonly kind: 'new'; readonly input: Uint8Array }
  /** An input that may be too slow, or need too much memory: to be read again by a child that optimises code, or has little memory. */
  | { readonly kind: 'suspect'; readonly of: 'time' | 'memory'; readonly input: Uint8Array }
  | { readonly kind: 'done'; readonly inputs: number; readonly blocks: number; readonly corpus: number };

const headBytes = 8;

/** Writes each input to a file before it is read, with their count: the owner sees which one never ended, or ended the child. */
export function openProgress(file: string): { begin(input: Buffer): void } {
  const fd = openSync(file, 'w');
  const head = Buffer.alloc(headBytes);
  let count = 0;
  return {
    begin(input) {
      head.writeUInt32LE(++count, 0);
      head.writeUInt32LE(input.length, 4);
      writeSync(fd, Buffer.concat([head, input]), 0, headBytes + input.length, 0);
    },
  };
}

/** The count of inputs that were begun, and the last of them. */
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
