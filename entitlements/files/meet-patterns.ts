import { append } from '../../base/lists/index.ts';
import { findPath, newBudget, tooComplex } from './automaton.ts';
import type { Budget } from './automaton.ts';
import { ANY_BYTE, NAME_BYTE, bytesOf } from './byte-set.ts';
import type { ByteSet } from './byte-set.ts';
import { uncleanAt } from './path-pattern.ts';
import type { PatternNode, PatternSequence } from './path-pattern.ts';
import { patternOf } from './pattern-of.ts';

type Flat = Exclude<PatternNode, { kind: 'alternatives' }>;

/** The maximum number of sequences that one pattern, or the meet of two, may expand to. */
const MAX_SEQUENCES = 256;

/**
 * Returns the pattern as sequences without alternatives, which together match the same paths. @throws
 * ENTITLEMENTS_TOO_COMPLEX above 256
 */
export function alternativesOf(pattern: PatternSequence): readonly Flat[][] {
  return pattern.reduce<Flat[][]>(
    (heads, node) => {
      const tails =
        node.kind === 'alternatives' ? node.of.flatMap((option) => alternativesOf(option)) : [[node]];
      if (heads.length * tails.length > MAX_SEQUENCES) throw tooComplex('divide path pattern');
      return heads.flatMap((head) => tails.map((tail) => [...head, ...tail]));
    },
    [[]],
  );
}

/**
 * Returns patterns that together match exactly the paths that both match. Patterns are closed under this
 * operation: where two `*` meet, either may end first.
 * @param a and b are valid patterns
 * @throws ENTITLEMENTS_TOO_COMPLEX if that would take more than 256 patterns
 */
export function meetPatterns(a: string, b: string, budget: Budget = newBudget()): string[] {
  if (--budget.steps < 0) throw tooComplex('intersect path patterns');
  if (a === b) return [a];
  const [ours, theirs] = [patternOf(a), patternOf(b)];
  if (apart(ours, theirs)) return [];
  const tagged = [
    { pattern: ours, tag: 0 },
    { pattern: theirs, tag: 1 },
  ];
  if (findPath(tagged, (is) => is(0) && is(1), budget) === undefined) return [];
  if (findPath(tagged, (is) => is(0) && !is(1), budget) === undefined) return [a];
  if (findPath(tagged, (is) => is(1) && !is(0), budget) === undefined) return [b];
  const met = alternativesOf(ours).flatMap((one) =>
    alternativesOf(theirs).flatMap((other) => meetSequences(one, other, budget)),
  );
  return withoutCovered([...new Set(met.map(formatSequence).filter((text) => uncleanAt(text) < 0))], budget);
}

/** Returns the patterns without those that another one covers. */
function withoutCovered(patterns: readonly string[], budget: Budget): string[] {
  if (patterns.length > MAX_SEQUENCES) throw tooComplex('intersect path patterns');
  const left = new Set(patterns);
  for (const one of patterns) {
    const covered = [...left].some((other) => other !== one && isWithin(one, other, budget));
    if (covered) left.delete(one);
  }
  return [...left];
}

function isWithin(inner: string, outer: string, budget: Budget): boolean {
  const tagged = [
    { pattern: patternOf(inner), tag: 0 },
    { pattern: patternOf(outer), tag: 1 },
  ];
  return findPath(tagged, (is) => is(0) && !is(1), budget) === undefined;
}

/** Returns true if the beginnings alone show that no path matches both. This decides nearly every pair. */
function apart(a: PatternSequence, b: PatternSequence): boolean {
  for (let at = 0; at < a.length && at < b.length; at++) {
    const [one, other] = [a[at], b[at]];
    if (one?.kind !== 'byte' || other?.kind !== 'byte') return false;
    if ((one.of & other.of) === 0n) return true;
  }
  return false;
}

/**
 * A sequence that shares its tail with others: a pattern of thousands of characters has as many tails. Equal
 * tails are the same object.
 */
interface Chain {
  readonly node: Flat;
  /** Undefined: the sequence ends here. */
  readonly next: Chain | undefined;
  readonly id: number;
}

type Chains = readonly (Chain | undefined)[];
type MakeChain = (node: Flat, next: Chain | undefined) => Chain;

function chainMaker(): MakeChain {
  const sets = new Map<ByteSet, number>();
  const made = new Map<string, Chain>();
  return (node, next) => {
    const set = sets.get(node.of) ?? sets.size;
    sets.set(node.of, set);
    const key = `${node.kind} ${set} ${next?.id ?? -1}`;
    const chain = made.get(key) ?? { node, next, id: made.size };
    made.set(key, chain);
    return chain;
  };
}

/**
 * Uses an explicit stack instead of recursion: a pattern of 4,096 characters is as many levels deep, which
 * overflows an engine's stack.
 */
function meetSequences(a: readonly Flat[], b: readonly Flat[], budget: Budget): Flat[][] {
  const known = new Map<number, Chains>();
  const make = chainMaker();
  const keyOf = (i: number, j: number): number => i * (b.length + 1) + j;
  const at = (i: number, j: number): Chains => known.get(keyOf(i, j)) ?? [];
  const waiting: (readonly [i: number, j: number])[] = [[0, 0]];
  for (let top = waiting.at(-1); top !== undefined; top = waiting.at(-1)) {
    const [i, j] = top;
    const open = known.has(keyOf(i, j))
      ? []
      : stepsFrom(a[i], b[j], i, j).filter(([k, l]) => !known.has(keyOf(k, l)));
    if (open.length > 0) {
      for (const step of open) waiting.push(step);
      continue;
    }
    waiting.pop();
    if (known.has(keyOf(i, j))) continue;
    const found = [...new Set(meetAt(a[i], b[j], [i, j], at, make))];
    if (found.length > MAX_SEQUENCES) throw tooComplex('intersect path patterns');
    budget.steps -= 1 + found.length;
    if (budget.steps < 0) throw tooComplex('intersect path patterns');
    known.set(keyOf(i, j), found);
  }
  return at(0, 0).map(sequenceOf);
}

function sequenceOf(chain: Chain | undefined): Flat[] {
  const nodes: Flat[] = [];
  for (let rest = chain; rest !== undefined; rest = rest.next) nodes.push(rest.node);
  return nodes;
}

/** Returns the positions in both sequences that the meet of two positions needs first. */
function stepsFrom(
  one: Flat | undefined,
  other: Flat | undefined,
  i: number,
  j: number,
): (readonly [i: number, j: number])[] {
  const both =
    one !== undefined &&
    other !== undefined &&
    (one.of & other.of) !== 0n &&
    !(one.kind === 'any' && other.kind === 'any');
  return [
    ...(one?.kind === 'any' ? [[i + 1, j] as const] : []),
    ...(other?.kind === 'any' ? [[i, j + 1] as const] : []),
    ...(both ? [[one.kind === 'any' ? i : i + 1, other.kind === 'any' ? j : j + 1] as const] : []),
  ];
}

function meetAt(
  one: Flat | undefined,
  other: Flat | undefined,
  [i, j]: readonly [i: number, j: number],
  at: (i: number, j: number) => Chains,
  make: MakeChain,
): Chains {
  if (one === undefined && other === undefined) return [undefined];
  const ours = one?.kind === 'any' ? at(i + 1, j) : [];
  const theirs = other?.kind === 'any' ? at(i, j + 1) : [];
  if (one === undefined) return theirs;
  if (other === undefined) return ours;
  const of = one.of & other.of;
  if (one.kind === 'any' && other.kind === 'any')
    return prefixed({ kind: 'any', of }, [...ours, ...theirs], make);
  if (of === 0n) return [...ours, ...theirs];
  const after = at(one.kind === 'any' ? i : i + 1, other.kind === 'any' ? j : j + 1);
  return [...ours, ...theirs, ...prefixed({ kind: 'byte', of }, after, make)];
}

/** Prepends the node to each tail. Two repetitions in a row become one if one of them covers both. */
function prefixed(node: Flat, tails: Chains, make: MakeChain): Chains {
  return tails.map((tail) => {
    if (node.kind !== 'any' || tail?.node.kind !== 'any') return make(node, tail);
    if ((node.of & tail.node.of) === node.of) return tail;
    return make(node, (node.of & tail.node.of) === tail.node.of ? tail.next : tail);
  });
}

/** Returns the sequence in the notation of patterns. */
export function formatSequence(sequence: readonly Flat[]): string {
  let text = '';
  let bytes: number[] = [];
  const flush = (): void => {
    text += new TextDecoder('utf-8', { fatal: true })
      .decode(Uint8Array.from(bytes))
      .replace(/[*?[\]{}\\,]/g, '\\$&');
    bytes = [];
  };
  for (const { kind, of } of sequence) {
    const members = kind === 'byte' && of !== NAME_BYTE ? bytesOf(of) : [];
    if (members.length === 1) {
      append(bytes, members);
      continue;
    }
    flush();
    if (kind === 'any') text += of === ANY_BYTE ? '**' : '*';
    else text += of === NAME_BYTE ? '?' : formatClass(of);
  }
  flush();
  return text;
}

function formatClass(of: ByteSet): string {
  const negated = of >> 128n !== 0n;
  const members = bytesOf(negated ? NAME_BYTE & ~of : of).filter((byte) => byte >= 0x20 && byte < 0x7f);
  const ranges: string[] = [];
  for (let at = 0; at < members.length;) {
    const first = members[at] ?? 0;
    let end = at;
    while (members[end + 1] === (members[end] ?? 0) + 1) end += 1;
    const last = members[end] ?? first;
    ranges.push(
      last - first > 1
        ? `${classLetter(first)}-${classLetter(last)}`
        : members
            .slice(at, end + 1)
            .map(classLetter)
            .join(''),
    );
    at = end + 1;
  }
  return `[${negated ? '^' : ''}${ranges.join('')}]`;
}

function classLetter(byte: number): string {
  return String.fromCharCode(byte).replace(/[\]\\^-]/, '\\$&');
}
