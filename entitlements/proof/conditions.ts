import { FALSE, TRUE } from './node-table.ts';
import type { DiagramStore } from './diagram.ts';
import type { Node } from './node-table.ts';

/**
 * The words of `struct seccomp_data` (linux/seccomp.h) in the order in which diagrams decide them, each from
 * its highest bit down: architecture, number, the six arguments (upper half first), the instruction pointer.
 */
export const ARCH_WORD = 0;
export const NR_WORD = 1;
const FIRST_ARGUMENT_WORD = 2;
const POINTER_WORD = 14;
export const WORDS = 16;

/** sizeof(struct seccomp_data). */
export const DATA_SIZE = 64;

/** Returns the word at an offset of `struct seccomp_data`, little-endian: 4-byte aligned, below 64. */
export function wordAt(offset: number): number {
  if (offset === 0) return NR_WORD;
  if (offset === 4) return ARCH_WORD;
  if (offset < 16) return offset === 8 ? POINTER_WORD + 1 : POINTER_WORD;
  return FIRST_ARGUMENT_WORD + 2 * ((offset - 16) >> 3) + (offset % 8 === 0 ? 1 : 0);
}

/** Returns the variable of a bit of a word (0 is the lowest). */
export function wordVariable(word: number, bit: number): number {
  return word * 32 + 31 - bit;
}

/** Returns the variable of a bit of a 64-bit argument. */
export function argumentVariable(index: number, bit: number): number {
  const upper = bit >= 32;
  return wordVariable(FIRST_ARGUMENT_WORD + 2 * index + (upper ? 0 : 1), bit & 31);
}

export function not(store: DiagramStore, a: Node): Node {
  return store.choose(a, FALSE, TRUE);
}

export function and(store: DiagramStore, a: Node, b: Node): Node {
  return store.choose(a, b, FALSE);
}

export function or(store: DiagramStore, a: Node, b: Node): Node {
  return store.choose(a, TRUE, b);
}

export function xor(store: DiagramStore, a: Node, b: Node): Node {
  return store.choose(a, not(store, b), b);
}

/** A call as numbers: the input of a filter. */
export interface Call {
  readonly arch: number;
  readonly nr: number;
  /** 64 bits each; a missing one is 0. */
  readonly args: readonly bigint[];
  /** 64 bits; 0 if absent. */
  readonly instructionPointer?: bigint;
}

/** Returns the sixteen words of a call, in the order of {@link wordAt}. */
export function wordsOf(call: Call): Uint32Array {
  const words = new Uint32Array(WORDS);
  words[ARCH_WORD] = call.arch;
  words[NR_WORD] = call.nr;
  for (let index = 0; index < 6; index++)
    split(words, FIRST_ARGUMENT_WORD + 2 * index, call.args[index] ?? 0n);
  split(words, POINTER_WORD, call.instructionPointer ?? 0n);
  return words;
}

/** Does the inverse of {@link wordsOf}. */
export function callOf(words: Uint32Array): Call {
  const whole = (at: number): bigint => (BigInt(words[at] ?? 0) << 32n) | BigInt(words[at + 1] ?? 0);
  const pointer = whole(POINTER_WORD);
  return {
    arch: words[ARCH_WORD] ?? 0,
    nr: words[NR_WORD] ?? 0,
    args: Array.from({ length: 6 }, (_, index) => whole(FIRST_ARGUMENT_WORD + 2 * index)),
    ...(pointer !== 0n && { instructionPointer: pointer }),
  };
}

function split(words: Uint32Array, at: number, value: bigint): void {
  words[at] = Number((value >> 32n) & 0xffffffffn);
  words[at + 1] = Number(value & 0xffffffffn);
}

/** Returns the bit of a call that a variable represents. */
export function bitOf(words: Uint32Array, variable: number): boolean {
  return (((words[variable >> 5] ?? 0) >>> (31 - (variable & 31))) & 1) === 1;
}
