import { append } from '../../base/lists/index.ts';
import { findPath, newBudget, tooComplex } from './automaton.ts';
import type { Budget } from './automaton.ts';
import { ANY_BYTE, NAME_BYTE, bytesOf } from './byte-set.ts';
import type { ByteSet } from './byte-set.ts';
import { uncleanAt } from './path-pattern.ts';
import type { PatternNode, PatternSequence } from './path-pattern.ts';
import { patternOf } from './pattern-of.ts';

type Flat = Exclude<PatternNode, { kind: 'alternatives' }>;

/** Sequences that one pattern, or the meet of two, may stand for. */
const MAX_SEQUENCES = 256;

/** The pattern as sequences without alternatives, which together match the same paths. @throws ENTITLEMENTS_TOO_COMPLEX above 256 */
export function alternativesOf(pattern: PatternSequence): readonly Flat[][] {
  return pattern.reduce<Flat[][]>(
    (heads, node) => {
      const tails = node.kind === 'alternatives' ? node.of.flatMap((option) => alternativesOf(option)) : [[node]];
      if (heads.length * tails.length > MAX_SEQUENCES) throw tooComplex('divide path pattern');
      return heads.flatMap((head) => tails.map((tail) => [...head, ...tail]));
    },
    [[]],
  );
}

/**
 * Patterns that together match exactly the paths that both match. Patterns are closed under this: where two `*` meet, either may end first.
 * @param a and b are valid patterns
 * @throws ENTITLEMENTS_TOO_COMPLEX when that would take more than 256 patterns
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
  const met = alternativesOf(ours).flatMap((one) => alternativesOf(theirs).flatMap((other) => meetSequences(one, other)));
  return withoutCovered([...new Set(met.map(formatSequence).filter((text) => uncleanAt(text) < 0))], budget);
}

/** Without those that another one covers. */
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

/** True when the beginnings alone tell that no path matches both: settles nearly every pair. */
function apart(a: PatternSequence, b: PatternSequence): boolean {
  for (let at = 0; at < a.length && at < b.length; at++) {
    const [one, other] = [a[at], b[at]];
    if (one?.kind !== 'byte' || other?.kind !== 'byte') return false;
    if ((one.of & other.of) === 0n) return true;
  }
  return false;
}

function meetSequences(a: readonly Flat[], b: readonly Flat[]): Flat[][] {
  const known = new Map<number, Flat[][]>();
  const from = (i: number, j: number): Flat[][] => {
    const key = i * (b.length + 1) + j;
    const before = known.get(key);
    if (before !== undefined) return before;
    const found = distinct(work(i, j));
    if (found.length > MAX_SEQUENCES) throw tooComplex('intersect path patterns');
    known.set(key, found);
    return found;
  };
  const work = (i: number, j: number): Flat[][] => {
    const [one, other] = [a[i], b[j]];
    if (one === undefined && other === undefined) return [[]];
    const ours = one?.kind === 'any' ? from(i + 1, j) : [];
    const theirs = other?.kind === 'any' ? from(i, j + 1) : [];
    if (one === undefined) return theirs;
    if (other === undefined) return ours;
    const of = one.of & other.of;
    if (one.kind === 'any' && other.kind === 'any') return prefixed({ kind: 'any', of }, [...ours, ...theirs]);
    if (of === 0n) return [...ours, ...theirs];
    const byte: Flat = { kind: 'byte', of };
    return [...ours, ...theirs, ...prefixed(byte, from(one.kind === 'any' ? i : i + 1, other.kind === 'any' ? j : j + 1))];
  };
  return from(0, 0);
}

/** Each with the node before it; two repetitions in a row are one when either says it all. */
function prefixed(node: Flat, tails: readonly Flat[][]): Flat[][] {
  return tails.map((tail) => {
    const [next, ...rest] = tail;
    if (node.kind !== 'any' || next?.kind !== 'any') return [node, ...tail];
    if ((node.of & next.of) === node.of) return tail;
    return (node.of & next.of) === next.of ? [node, ...rest] : [node, ...tail];
  });
}

function distinct(sequences: readonly Flat[][]): Flat[][] {
  return [
    ...new Map(sequences.map((sequence) => [sequence.map(({ kind, of }) => `${kind}${of.toString(36)}`).join(' '), sequence])).values(),
  ];
}

/** The sequence in the notation of patterns. */
export function formatSequence(sequence: readonly Flat[]): string {
  let text = '';
  let bytes: number[] = [];
  const flush = (): void => {
    text += new TextDecoder('utf-8', { fatal: true }).decode(Uint8Array.from(bytes)).replace(/[*?[\]{}\\,]/g, '\\$&');
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
