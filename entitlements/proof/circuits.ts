import { and, not, or, xor } from './conditions.ts';
import type { DiagramStore } from './diagram.ts';
import { FALSE, TRUE } from './node-table.ts';
import type { Node } from './node-table.ts';

export type Operation = 'add' | 'sub' | 'mul' | 'div' | 'and' | 'or' | 'xor' | 'lsh' | 'rsh';

/** BPF's operations on 32-bit registers over conditions: one for each bit, the lowest bit first. */
export interface Circuits {
  readonly operations: Readonly<Record<Operation, (a: readonly Node[], b: readonly Node[]) => Node[]>>;
  /** Returns the condition that a is greater than b. @param whenEqual the result for equal numbers */
  readonly ordered: (a: readonly Node[], b: readonly Node[], whenEqual: Node) => Node;
}

const WIDTH = 32;

/** Returns the bits of a number, the lowest first. */
export const eachBit = (of: (bit: number) => Node): Node[] =>
  Array.from({ length: WIDTH }, (_, bit) => of(bit));

/** Creates the circuits on the nodes of a store. */
export function createCircuits(store: DiagramStore): Circuits {
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
  const zeros = eachBit(() => FALSE);
  const shifted = (a: readonly Node[], by: number): Node[] => eachBit((bit) => a[bit - by] ?? FALSE);

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

  const ordered = (a: readonly Node[], b: readonly Node[], whenEqual: Node): Node => {
    let found = whenEqual;
    for (let bit = 0; bit < WIDTH; bit++) {
      const x = a[bit] ?? FALSE;
      found = store.choose(xor(store, x, b[bit] ?? FALSE), x, found);
    }
    return found;
  };

  return { operations, ordered };
}
