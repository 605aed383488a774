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

export type Operation = 'add' | 'sub' | 'mul' | 'div' | 'and' | 'or' | 'xor' | 'lsh' | 'rsh';
export type Comparison = 'eq' | 'gt' | 'ge' | 'set';

const WIDTH = 32;

/**
 * Creates arithmetic over conditions, as circuits. It is exact for every operation of BPF; the store's budget
 * stops it when it grows too large.
 */
export function arithmetic(store: DiagramStore): Arithmetic {
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

  const each = (of: (bit: number) => Node): Node[] => Array.from({ length: WIDTH }, (_, bit) => of(bit));
  const constants = new Map<number, Symbolic>();
  const constant = (value: number): Symbolic => {
    let found = constants.get(value);
    if (found === undefined) {
      found = symbolic(each((bit) => (((value >>> bit) & 1) === 1 ? TRUE : FALSE)));
      constants.set(value, found);
    }
    return found;
  };
  const words = new Map<number, Symbolic>();
  const word = (at: number): Symbolic => {
    let found = words.get(at);
    if (found === undefined) {
      found = symbolic(each((bit) => store.variable(wordVariable(at, bit))));
      words.set(at, found);
    }
    return found;
  };

  /** Returns a + b + carry, and the carry out. */
  const add = (a: readonly Node[], b: readonly Node[], carryIn: Node): { sum: Node[]; carry: Node } => {
    let carry = carryIn;
    const sum: Node[] = [];
    for (let bit = 0; bit < a.length; bit++) {
      const [x, y] = [a[bit] ?? FALSE, b[bit] ?? FALSE];
      const differ = xor(store, x, y);
      sum.push(xor(store, differ, carry));
      carry = store.choose(differ, carry, x);
    }
    return { sum, carry };
  };
  const complement = (a: readonly Node[]): Node[] => a.map((bit) => not(store, bit));
  const choose = (condition: Node, yes: readonly Node[], no: readonly Node[]): Node[] =>
    yes.map((bit, at) => store.choose(condition, bit, no[at] ?? FALSE));
  const zeros = each(() => FALSE);
  const shifted = (a: readonly Node[], by: number): Node[] => each((bit) => a[bit - by] ?? FALSE);

  const shift = (a: readonly Node[], by: readonly Node[], left: boolean): Node[] => {
    let result = [...a];
    for (let stage = 0; stage < 5; stage++) {
      result = choose(by[stage] ?? FALSE, shifted(result, left ? 1 << stage : -(1 << stage)), result);
    }
    return result;
  };
  const multiply = (a: readonly Node[], b: readonly Node[]): Node[] => {
    let sum = zeros;
    for (let bit = 0; bit < WIDTH; bit++) {
      const one = b[bit] ?? FALSE;
      if (one !== FALSE) sum = choose(one, add(sum, shifted(a, bit), FALSE).sum, sum);
    }
    return sum;
  };
  /** Divides one bit at a time, from the highest. */
  const divide = (a: readonly Node[], b: readonly Node[]): Node[] => {
    let rest: Node[] = [...zeros, FALSE];
    const divisor = [...b, FALSE];
    const quotient = [...zeros];
    for (let bit = WIDTH - 1; bit >= 0; bit--) {
      rest = [a[bit] ?? FALSE, ...rest.slice(0, WIDTH)];
      const { sum, carry } = add(rest, complement(divisor), TRUE);
      quotient[bit] = carry;
      rest = choose(carry, sum, rest);
    }
    return quotient;
  };

  const operations: Readonly<Record<Operation, (a: readonly Node[], b: readonly Node[]) => Node[]>> = {
    add: (a, b) => add(a, b, FALSE).sum,
    sub: (a, b) => add(a, complement(b), TRUE).sum,
    mul: multiply,
    div: divide,
    and: (a, b) => a.map((bit, at) => and(store, bit, b[at] ?? FALSE)),
    or: (a, b) => a.map((bit, at) => or(store, bit, b[at] ?? FALSE)),
    xor: (a, b) => a.map((bit, at) => xor(store, bit, b[at] ?? FALSE)),
    lsh: (a, b) => shift(a, b, true),
    rsh: (a, b) => shift(a, b, false),
  };

  const compute = (operation: Operation, a: Symbolic, b: Symbolic): Symbolic => {
    const key = `${operation} ${a.id} ${b.id}`;
    const known = results.get(key);
    if (known !== undefined) return known;
    const made = symbolic(operations[operation](a.bits, b.bits));
    results.set(key, made);
    return made;
  };

  const ordered = (a: readonly Node[], b: readonly Node[], whenEqual: Node): Node => {
    let found = whenEqual;
    for (let bit = 0; bit < WIDTH; bit++) {
      const x = a[bit] ?? FALSE;
      found = store.choose(xor(store, x, b[bit] ?? FALSE), x, found);
    }
    return found;
  };
  const compared = new Map<string, Node>();
  const compare = (comparison: Comparison, a: Symbolic, b: Symbolic): Node => {
    const key = `${comparison} ${a.id} ${b.id}`;
    const known = compared.get(key);
    if (known !== undefined) return known;
    let found = comparison === 'eq' ? TRUE : FALSE;
    if (comparison === 'gt' || comparison === 'ge') found = ordered(a.bits, b.bits, comparison === 'ge' ? TRUE : FALSE);
    else if (comparison === 'eq') {
      a.bits.forEach((bit, at) => (found = and(store, not(store, xor(store, bit, b.bits[at] ?? FALSE)), found)));
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
