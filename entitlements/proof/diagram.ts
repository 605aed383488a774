import { startMeter } from './budget.ts';
import type { Budget, Meter } from './budget.ts';
import { at32, createNodeTable, FALSE, hash, LEAF, TRUE } from './node-table.ts';
import type { Node, NodeTable } from './node-table.ts';

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
export function createDiagramStore(budget: Budget = {}): DiagramStore {
  const meter = startMeter(budget);
  const { tick } = meter;
  const table = createNodeTable(meter);
  const { decide, levelOf, zeroOf, oneOf } = table;
  const leaves = new Map<number, Node>();
  const values = new Map<Node, number>();

  const leaf = (value: number): Node => {
    const known = leaves.get(value);
    if (known !== undefined) return known;
    const made = table.addLeaf();
    leaves.set(value, made);
    values.set(made, value);
    return made;
  };

  const valueOf = (node: Node): number => {
    const value = values.get(node);
    if (value === undefined) throw new Error(`the node ${node} is not a leaf with a value`);
    return value;
  };

  const mapLeaves = (root: Node, change: (value: number) => number): Node => {
    const done = new Map<Node, Node>();
    const walk = (node: Node): Node => {
      const known = done.get(node);
      if (known !== undefined) return known;
      tick();
      const level = levelOf(node);
      const made =
        level === LEAF ? leaf(change(valueOf(node))) : decide(level, walk(oneOf(node)), walk(zeroOf(node)));
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
      const [inA, inB] = [levelOf(a), levelOf(b)];
      const level = Math.min(inA, inB);
      const made =
        level === LEAF
          ? leaf(pick(valueOf(a), valueOf(b)))
          : decide(
              level,
              walk(inA === level ? oneOf(a) : a, inB === level ? oneOf(b) : b),
              walk(inA === level ? zeroOf(a) : a, inB === level ? zeroOf(b) : b),
            );
      done.set(key, made);
      return made;
    };
    return walk(left, right);
  };

  return {
    leaf,
    variable: (level) => decide(level, TRUE, FALSE),
    choose: createChoose(table, meter),
    decide,
    mapLeaves,
    combine,
    levelOf: (node) => (levelOf(node) === LEAF ? undefined : levelOf(node)),
    branch: (node, bit) => (bit ? oneOf(node) : zeroOf(node)),
    valueOf,
    size: table.size,
    tick,
  };
}

/** Returns the operation `condition ? yes : no` (Bryant's ITE), with the results of its own. */
function createChoose(
  { decide, levelOf, zeroOf, oneOf }: NodeTable,
  { tick }: Meter,
): DiagramStore['choose'] {
  // Results of `choose`, by the three operands: a direct-mapped table whose entries may be overwritten.
  const cacheBits = 16;
  const cache = new Int32Array(4 << cacheBits).fill(-1);
  const cacheMask = (1 << cacheBits) - 1;

  const choose = (condition: Node, yes: Node, no: Node): Node => {
    if (condition === TRUE) return yes;
    if (condition === FALSE) return no;
    if (yes === no) return yes;
    if (yes === TRUE && no === FALSE) return condition;
    const slot = (hash(condition, yes, no) & cacheMask) << 2;
    if (cache[slot] === condition && cache[slot + 1] === yes && cache[slot + 2] === no)
      return at32(cache, slot + 3);
    tick();
    const [inCondition, inYes, inNo] = [levelOf(condition), levelOf(yes), levelOf(no)];
    const level = Math.min(inCondition, inYes, inNo);
    const one = choose(
      inCondition === level ? oneOf(condition) : condition,
      inYes === level ? oneOf(yes) : yes,
      inNo === level ? oneOf(no) : no,
    );
    const zero = choose(
      inCondition === level ? zeroOf(condition) : condition,
      inYes === level ? zeroOf(yes) : yes,
      inNo === level ? zeroOf(no) : no,
    );
    const made = decide(level, one, zero);
    cache[slot] = condition;
    cache[slot + 1] = yes;
    cache[slot + 2] = no;
    cache[slot + 3] = made;
    return made;
  };

  return choose;
}

/** Returns a key for a pair of nodes. Both are below 2²³, so the key is an exact number. */
export function pairKey(a: Node, b: Node): number {
  return a * 0x4000000 + b;
}
