import { createCircuits, eachBit } from './circuits.ts';
import type { Operation } from './circuits.ts';
import { and, not, or, wordVariable, xor } from './conditions.ts';
import { FALSE, TRUE } from './node-table.ts';
import type { DiagramStore } from './diagram.ts';
import type { Node } from './node-table.ts';

/**
 * A 32-bit number that depends on the call: one condition per bit, the lowest bit first. Created by {@link
 * arithmetic}, so that equal numbers have equal ids.
 */
export interface Symbolic {
  readonly id: number;
  readonly bits: readonly Node[];
  /** Its value, if it is the same for every call. */
  readonly constant: number | undefined;
}

export interface Arithmetic {
  readonly constant: (value: number) => Symbolic;
  /** Returns a word of `struct seccomp_data`. */
  readonly word: (word: number) => Symbolic;
  /**
   * Computes BPF's operations on 32-bit registers. A shift counts modulo 32. A quotient by 0 is defined as 0
   * (the caller checks {@link isZero} first).
   */
  readonly compute: (operation: Operation, a: Symbolic, b: Symbolic) => Symbolic;
  readonly compare: (comparison: Comparison, a: Symbolic, b: Symbolic) => Node;
  readonly isZero: (a: Symbolic) => Node;
}

export type Comparison = 'eq' | 'gt' | 'ge' | 'set';

/**
 * Creates arithmetic over conditions, as circuits. It is exact for every operation of BPF; the store's budget
 * stops it when it grows too large.
 */
export function arithmetic(store: DiagramStore): Arithmetic {
  const { operations, ordered } = createCircuits(store);
  const interned = new Map<string, Symbolic>();
  const results = new Map<string, Symbolic>();

  const symbolic = (bits: readonly Node[]): Symbolic => {
    const key = bits.join();
    const known = interned.get(key);
    if (known !== undefined) return known;
    const made = { id: interned.size, bits, constant: constantOf(bits) };
    interned.set(key, made);
    return made;
  };

  const constants = new Map<number, Symbolic>();
  const constant = (value: number): Symbolic => {
    let found = constants.get(value);
    if (found === undefined) {
      found = symbolic(eachBit((bit) => (((value >>> bit) & 1) === 1 ? TRUE : FALSE)));
      constants.set(value, found);
    }
    return found;
  };
  const words = new Map<number, Symbolic>();
  const word = (at: number): Symbolic => {
    let found = words.get(at);
    if (found === undefined) {
      found = symbolic(eachBit((bit) => store.variable(wordVariable(at, bit))));
      words.set(at, found);
    }
    return found;
  };

  const compute = (operation: Operation, a: Symbolic, b: Symbolic): Symbolic => {
    const key = `${operation} ${a.id} ${b.id}`;
    const known = results.get(key);
    if (known !== undefined) return known;
    const made = symbolic(operations[operation](a.bits, b.bits));
    results.set(key, made);
    return made;
  };

  const compared = new Map<string, Node>();
  const compare = (comparison: Comparison, a: Symbolic, b: Symbolic): Node => {
    const key = `${comparison} ${a.id} ${b.id}`;
    const known = compared.get(key);
    if (known !== undefined) return known;
    let found = comparison === 'eq' ? TRUE : FALSE;
    if (comparison === 'gt' || comparison === 'ge')
      found = ordered(a.bits, b.bits, comparison === 'ge' ? TRUE : FALSE);
    else if (comparison === 'eq') {
      a.bits.forEach(
        (bit, at) => (found = and(store, not(store, xor(store, bit, b.bits[at] ?? FALSE)), found)),
      );
    } else a.bits.forEach((bit, at) => (found = or(store, and(store, bit, b.bits[at] ?? FALSE), found)));
    compared.set(key, found);
    return found;
  };

  return { constant, word, compute, compare, isZero: (a) => compare('eq', a, constant(0)) };
}

function constantOf(bits: readonly Node[]): number | undefined {
  let value = 0;
  for (const [at, bit] of bits.entries()) {
    if (bit === TRUE) value |= 1 << at;
    else if (bit !== FALSE) return undefined;
  }
  return value >>> 0;
}
