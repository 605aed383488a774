import { entitlementsError } from '../errors.ts';

/**
 * A node of a {@link DiagramStore}: two nodes of one store are the same function exactly if they are the same
 * number.
 */
export type Node = number;

/** The constant functions false and true. */
export const FALSE: Node = 0;
export const TRUE: Node = 1;

/** The level of leaves: below every variable. */
const LEAF = 0xffff;

/**
 * The maximum number of nodes in one proof. The default profile takes several thousand, docker's profile for
 * three architectures about 20,000.
 */
const MAX_NODES = 4_000_000;

/** The maximum time of one proof, in milliseconds. */
const MAX_MILLISECONDS = 2000;

/** The maximum cost of one proof. By default it is refused above 4 million nodes or two seconds. */
export interface Budget {
  readonly nodes?: number;
  readonly milliseconds?: number;
  /** Returns milliseconds since any moment. Default: the wall clock. */
  readonly clock?: () => number;
}

/**
 * Reduced ordered decision diagrams with 32-bit numbers as leaves (MTBDD: R. I. Bahar et al., "Algebraic
 * Decision Diagrams and Their Applications", 1993; R. Bryant, "Graph-Based Algorithms for Boolean Function
 * Manipulation", 1986). Nodes are hash-consed: equal functions are equal numbers, so a proof that two
 * programs are equal is a comparison of two integers. Conditions (functions to {@link FALSE} and {@link
 * TRUE}) are in the same store.
 */
export interface DiagramStore {
  /** Returns the constant function. @param value 0 … 2³²−1 */
  readonly leaf: (value: number) => Node;
  /** Returns the condition that this variable is 1. Lower variables are decided first. */
  readonly variable: (level: number) => Node;
  /** Returns `condition ? yes : no`. */
  readonly choose: (condition: Node, yes: Node, no: Node) => Node;
  /** Returns `bit = 1 ? yes : no`, if both depend only on later variables. */
  readonly decide: (level: number, yes: Node, no: Node) => Node;
  /** Returns the function with the value of every leaf replaced. */
  readonly mapLeaves: (node: Node, change: (value: number) => number) => Node;
  /** Returns the function whose value is `pick(a, b)`. @param pick must depend only on its two values */
  readonly combine: (a: Node, b: Node, pick: (a: number, b: number) => number) => Node;
  /** Returns the variable that a node decides; undefined for a leaf. */
  readonly levelOf: (node: Node) => number | undefined;
  /** Returns the next node when the node's variable is 1, or 0. */
  readonly branch: (node: Node, bit: boolean) => Node;
  readonly valueOf: (leaf: Node) => number;
  /** Returns the number of nodes created so far. */
  readonly size: () => number;
  /** Counts work that creates no nodes. @throws ENTITLEMENTS_TOO_COMPLEX when the time is over */
  readonly tick: () => void;
}

/** Creates an empty store. Its functions throw ENTITLEMENTS_TOO_COMPLEX when the budget is spent. */
export function createDiagramStore({
  nodes = MAX_NODES,
  milliseconds = MAX_MILLISECONDS,
  clock = () => performance.now(),
}: Budget = {}): DiagramStore {
  const until = clock() + milliseconds;
  let capacity = 1 << 14;
  let levels = new Uint16Array(capacity);
  let zeros = new Int32Array(capacity);
  let ones = new Int32Array(capacity);
  let unique = new Int32Array(capacity * 2).fill(-1);
  let uniqueMask = unique.length - 1;
  let count = 2;
  levels[FALSE] = LEAF;
  levels[TRUE] = LEAF;
  const leaves = new Map<number, Node>();
  const values = new Map<Node, number>();

  // Results of `choose`, by the three operands: a direct-mapped table whose entries may be overwritten.
  const cacheBits = 16;
  const cache = new Int32Array(4 << cacheBits).fill(-1);
  const cacheMask = (1 << cacheBits) - 1;

  let ticks = 0;
  const tick = (): void => {
    ticks += 1;
    if ((ticks & 0x3ff) === 0 && clock() > until) {
      throw tooComplex(`the proof takes more than ${milliseconds / 1000} seconds`);
    }
  };

  const grow = (): void => {
    if (count > nodes) throw tooComplex(`the decision diagram has more than ${nodes} nodes`);
    capacity *= 2;
    const [oldLevels, oldZeros, oldOnes] = [levels, zeros, ones];
    levels = new Uint16Array(capacity);
    zeros = new Int32Array(capacity);
    ones = new Int32Array(capacity);
    levels.set(oldLevels);
    zeros.set(oldZeros);
    ones.set(oldOnes);
    unique = new Int32Array(capacity * 2).fill(-1);
    uniqueMask = unique.length - 1;
    for (let node = 2; node < count; node++) {
      if (levels[node] === LEAF) continue;
      let at = hash(at32(levels, node), at32(zeros, node), at32(ones, node)) & uniqueMask;
      while (unique[at] !== -1) at = (at + 1) & uniqueMask;
      unique[at] = node;
    }
  };

  const add = (level: number, zero: Node, one: Node): Node => {
    if (count >= capacity) grow();
    if (count >= nodes) throw tooComplex(`the decision diagram has more than ${nodes} nodes`);
    levels[count] = level;
    zeros[count] = zero;
    ones[count] = one;
    return count++;
  };

  const leaf = (value: number): Node => {
    const known = leaves.get(value);
    if (known !== undefined) return known;
    const made = add(LEAF, 0, 0);
    leaves.set(value, made);
    values.set(made, value);
    return made;
  };

  const decide = (level: number, yes: Node, no: Node): Node => {
    if (yes === no) return yes;
    let at = hash(level, no, yes) & uniqueMask;
    for (;;) {
      const node = at32(unique, at);
      if (node === -1) break;
      if (levels[node] === level && zeros[node] === no && ones[node] === yes) return node;
      at = (at + 1) & uniqueMask;
    }
    tick();
    const full = count >= capacity;
    const made = add(level, no, yes);
    // The table has a new layout after it has grown.
    if (full) {
      at = hash(level, no, yes) & uniqueMask;
      while (unique[at] !== -1) at = (at + 1) & uniqueMask;
    }
    unique[at] = made;
    return made;
  };

  const choose = (condition: Node, yes: Node, no: Node): Node => {
    if (condition === TRUE) return yes;
    if (condition === FALSE) return no;
    if (yes === no) return yes;
    if (yes === TRUE && no === FALSE) return condition;
    const slot = (hash(condition, yes, no) & cacheMask) << 2;
    if (cache[slot] === condition && cache[slot + 1] === yes && cache[slot + 2] === no) return at32(cache, slot + 3);
    tick();
    const [inCondition, inYes, inNo] = [at32(levels, condition), at32(levels, yes), at32(levels, no)];
    const level = Math.min(inCondition, inYes, inNo);
    const one = choose(
      inCondition === level ? at32(ones, condition) : condition,
      inYes === level ? at32(ones, yes) : yes,
      inNo === level ? at32(ones, no) : no,
    );
    const zero = choose(
      inCondition === level ? at32(zeros, condition) : condition,
      inYes === level ? at32(zeros, yes) : yes,
      inNo === level ? at32(zeros, no) : no,
    );
    const made = decide(level, one, zero);
    cache[slot] = condition;
    cache[slot + 1] = yes;
    cache[slot + 2] = no;
    cache[slot + 3] = made;
    return made;
  };

  const valueOf = (node: Node): number => {
    const value = values.get(node);
    if (value === undefined) throw new Error(`the node ${node} is no leaf with a value`);
    return value;
  };

  const mapLeaves = (root: Node, change: (value: number) => number): Node => {
    const done = new Map<Node, Node>();
    const walk = (node: Node): Node => {
      const known = done.get(node);
      if (known !== undefined) return known;
      tick();
      const level = at32(levels, node);
      const made = level === LEAF ? leaf(change(valueOf(node))) : decide(level, walk(at32(ones, node)), walk(at32(zeros, node)));
      done.set(node, made);
      return made;
    };
    return walk(root);
  };

  const combine = (left: Node, right: Node, pick: (a: number, b: number) => number): Node => {
    const done = new Map<number, Node>();
    const walk = (a: Node, b: Node): Node => {
      const key = pairKey(a, b);
      const known = done.get(key);
      if (known !== undefined) return known;
      tick();
      const [inA, inB] = [at32(levels, a), at32(levels, b)];
      const level = Math.min(inA, inB);
      const made =
        level === LEAF
          ? leaf(pick(valueOf(a), valueOf(b)))
          : decide(
              level,
              walk(inA === level ? at32(ones, a) : a, inB === level ? at32(ones, b) : b),
              walk(inA === level ? at32(zeros, a) : a, inB === level ? at32(zeros, b) : b),
            );
      done.set(key, made);
      return made;
    };
    return walk(left, right);
  };

  return {
    leaf,
    variable: (level) => decide(level, TRUE, FALSE),
    choose,
    decide,
    mapLeaves,
    combine,
    levelOf: (node) => (levels[node] === LEAF ? undefined : levels[node]),
    branch: (node, bit) => at32(bit ? ones : zeros, node),
    valueOf,
    size: () => count,
    tick,
  };
}

/** Returns a key for a pair of nodes. Both are below 2²³, so the key is an exact number. */
export function pairKey(a: Node, b: Node): number {
  return a * 0x4000000 + b;
}

function at32(table: Int32Array | Uint16Array, at: number): number {
  return table[at] ?? -1;
}

function hash(a: number, b: number, c: number): number {
  let h = Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca6b) ^ Math.imul(c, 0xc2b2ae35);
  h ^= h >>> 15;
  h = Math.imul(h, 0x2c1b3c6d);
  return (h ^ (h >>> 13)) >>> 0;
}

function tooComplex(why: string): Error {
  return entitlementsError('ENTITLEMENTS_TOO_COMPLEX', {
    kind: 'exhausted',
    attempted: 'prove seccomp filter',
    on: '',
    why,
    fix: 'use fewer or simpler argument conditions',
  });
}
