import { answerRank } from './answer.ts';
import { ARCH_WORD, bitOf, callOf, WORDS, wordsOf, wordVariable } from './conditions.ts';
import type { Call } from './conditions.ts';
import { pairKey } from './diagram.ts';
import type { DiagramStore } from './diagram.ts';
import type { Node } from './node-table.ts';

/** Returns true if two functions of one store answer every call in the same way. */
export function equal(a: Node, b: Node): boolean {
  return a === b;
}

/** Returns the answer of a diagram to one call. */
export function evaluate(store: DiagramStore, root: Node, call: Call): number {
  const words = wordsOf(call);
  let node = root;
  for (let level = store.levelOf(node); level !== undefined; level = store.levelOf(node)) {
    node = store.branch(node, bitOf(words, level));
  }
  return store.valueOf(node);
}

/** A call that two diagrams answer differently, and both answers. */
export interface Difference {
  readonly call: Call;
  readonly left: number;
  readonly right: number;
}

/**
 * Returns a call that `a` and `b` answer differently; undefined if there is none. If a call of this
 * architecture differs, the result is one of this architecture, with the smallest number and then the
 * smallest arguments.
 */
export function witness(
  store: DiagramStore,
  a: Node,
  b: Node,
  preferredArch: number,
): Difference | undefined {
  return search(store, a, b, preferredArch, () => true);
}

/**
 * Returns whether `inner` grants no call more than `outer`. If it grants more, the call is returned (`left`
 * is the answer of `inner`). The order of answers: allow, log, trace, notify, errno 4095 … 0, trap,
 * kill-thread, kill-process.
 */
export function within(
  store: DiagramStore,
  inner: Node,
  outer: Node,
  preferredArch: number,
): { yes: true } | { yes: false; difference: Difference } {
  const difference = search(store, inner, outer, preferredArch, (x, y) => answerRank(x) > answerRank(y));
  return difference === undefined ? { yes: true } : { yes: false, difference };
}

function search(
  store: DiagramStore,
  left: Node,
  right: Node,
  preferredArch: number,
  wanted: (a: number, b: number) => boolean,
): Difference | undefined {
  const words = new Uint32Array(WORDS);
  const preferred = wordsOf({ arch: preferredArch, nr: 0, args: [] });
  const hopeless = new Set<number>();
  const set = (level: number, bit: boolean): void => {
    const [word, mask] = [level >> 5, 2 ** (31 - (level & 31))];
    const without = (words[word] ?? 0) & ~mask;
    words[word] = bit ? without | mask : without;
  };
  const walk = (a: Node, b: Node): Difference | undefined => {
    if (a === b || hopeless.has(pairKey(a, b))) return undefined;
    store.tick();
    const [inA, inB] = [store.levelOf(a), store.levelOf(b)];
    if (inA === undefined && inB === undefined) {
      const [x, y] = [store.valueOf(a), store.valueOf(b)];
      return wanted(x, y) ? { call: callOf(words), left: x, right: y } : undefined;
    }
    const level = Math.min(inA ?? Infinity, inB ?? Infinity);
    const first = level < wordVariable(ARCH_WORD, 0) + 1 && bitOf(preferred, level);
    for (const bit of [first, !first]) {
      set(level, bit);
      const found = walk(inA === level ? store.branch(a, bit) : a, inB === level ? store.branch(b, bit) : b);
      if (found !== undefined) return found;
    }
    set(level, first);
    hopeless.add(pairKey(a, b));
    return undefined;
  };
  // Bits on which neither diagram depends keep their preferred values.
  words.set(preferred);
  return walk(left, right);
}
