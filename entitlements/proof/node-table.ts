import type { Meter } from './budget.ts';

/**
 * A node of a diagram: two nodes of one table are the same function exactly if they are the same number.
 */
export type Node = number;

/** The constant functions false and true. */
export const FALSE: Node = 0;
export const TRUE: Node = 1;

/** The level of leaves: below every variable. */
export const LEAF = 0xffff;

/** The nodes of decision diagrams, hash-consed: a decision is stored once, whoever adds it. */
export interface NodeTable {
  /** Adds a leaf, which differs from every other one. */
  readonly addLeaf: () => Node;
  /** Returns `bit = 1 ? yes : no`, if both depend only on later variables. */
  readonly decide: (level: number, yes: Node, no: Node) => Node;
  /** Returns the variable that a node decides, or {@link LEAF}. */
  readonly levelOf: (node: Node) => number;
  /** Returns the next node when the node's variable is 0. */
  readonly zeroOf: (node: Node) => Node;
  /** Returns the next node when the node's variable is 1. */
  readonly oneOf: (node: Node) => Node;
  /** Returns the number of nodes. */
  readonly size: () => number;
}

/**
 * Creates a table of {@link FALSE} and {@link TRUE}. It throws ENTITLEMENTS_TOO_COMPLEX when the budget is
 * spent.
 */
export function createNodeTable(meter: Meter): NodeTable {
  let capacity = 1 << 14;
  let levels = new Uint16Array(capacity);
  let zeros = new Int32Array(capacity);
  let ones = new Int32Array(capacity);
  let unique = new Int32Array(capacity * 2).fill(-1);
  let uniqueMask = unique.length - 1;
  let count = 2;
  levels[FALSE] = LEAF;
  levels[TRUE] = LEAF;

  const grow = (): void => {
    if (count > meter.nodes) throw meter.tooManyNodes();
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
    if (count >= meter.nodes) throw meter.tooManyNodes();
    levels[count] = level;
    zeros[count] = zero;
    ones[count] = one;
    return count++;
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
    meter.tick();
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

  return {
    addLeaf: () => add(LEAF, 0, 0),
    decide,
    levelOf: (node) => at32(levels, node),
    zeroOf: (node) => at32(zeros, node),
    oneOf: (node) => at32(ones, node),
    size: () => count,
  };
}

/** Reads a table of whole numbers; -1 beyond its end. */
export function at32(table: Int32Array | Uint16Array, at: number): number {
  return table[at] ?? -1;
}

/** Returns a hash of three numbers, 32 bits. */
export function hash(a: number, b: number, c: number): number {
  let h = Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca6b) ^ Math.imul(c, 0xc2b2ae35);
  h ^= h >>> 15;
  h = Math.imul(h, 0x2c1b3c6d);
  return (h ^ (h >>> 13)) >>> 0;
}
