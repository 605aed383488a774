import { entitlementsError } from '../errors.ts';
import { DOT, SLASH, byteClasses, singleByte } from './byte-set.ts';
import type { ByteSet } from './byte-set.ts';
import { setsOf } from './path-pattern.ts';
import type { PatternSequence } from './path-pattern.ts';

/** A pattern with a number by which questions refer to it. Several patterns may have the same number. */
export interface Tagged {
  readonly pattern: PatternSequence;
  readonly tag: number;
}

/** Returns whether the path read so far matches a pattern with that tag. */
export type Matched = (tag: number) => boolean;

/**
 * The states and steps that one question, or all questions of one comparison together, may take: about half a
 * second.
 */
const MAX_STATES = 30_000;
const MAX_STEPS = 3_000_000;

/** The remaining steps. Several questions may share one budget. */
export interface Budget {
  steps: number;
}

export function newBudget(): Budget {
  return { steps: MAX_STEPS };
}

/** All patterns as one automaton: a state is a position in one of them. */
interface Places {
  /** By position: a byte of the set leads to another position. */
  readonly steps: { readonly set: ByteSet; readonly to: number }[][];
  /** By position: positions that are also active. */
  readonly also: number[][];
  /** By position: the tag of its pattern. */
  readonly tags: number[];
  /** By position: whether the pattern ends here. */
  readonly ends: boolean[];
}

function newPlace(places: Places, tag: number): number {
  places.steps.push([]);
  places.also.push([]);
  places.tags.push(tag);
  places.ends.push(false);
  return places.tags.length - 1;
}

/** Adds the sequence after `from` and returns the position where it ends. */
function add(places: Places, sequence: PatternSequence, from: number, tag: number): number {
  let at = from;
  for (const node of sequence) {
    switch (node.kind) {
      case 'byte': {
        const next = newPlace(places, tag);
        places.steps[at]?.push({ set: node.of, to: next });
        at = next;
        break;
      }
      case 'any': {
        const loop = newPlace(places, tag);
        places.also[at]?.push(loop);
        places.steps[loop]?.push({ set: node.of, to: loop });
        at = loop;
        break;
      }
      case 'alternatives': {
        const end = newPlace(places, tag);
        for (const option of node.of) {
          const begin = newPlace(places, tag);
          places.also[at]?.push(begin);
          const last = add(places, option, begin, tag);
          places.also[last]?.push(end);
        }
        at = end;
      }
    }
  }
  return at;
}

/**
 * The clean paths: absolute, no empty component, `.` or `..`; a trailing slash marks a folder. By state:
 * bytes to the next state; -1 none.
 */
const CLEAN = { begin: 0, afterSlash: 1, dot: 2, dots: 3, name: 4 } as const;

function cleanStep(state: number, byte: number): number {
  if (byte === SLASH) return state === CLEAN.begin || state === CLEAN.name ? CLEAN.afterSlash : -1;
  if (state === CLEAN.begin) return -1;
  if (byte === DOT && state === CLEAN.afterSlash) return CLEAN.dot;
  if (byte === DOT && state === CLEAN.dot) return CLEAN.dots;
  return CLEAN.name;
}

const isWhole = (clean: number): boolean => clean === CLEAN.afterSlash || clean === CLEAN.name;

/**
 * Returns a shortest path for which `wanted` holds, over all clean absolute paths; undefined if there is
 * none. Exact.
 * @param wanted must be false for a path that no pattern matches
 * @throws ENTITLEMENTS_TOO_COMPLEX after 30,000 states or when the budget is spent
 */
export function findPath(
  patterns: readonly Tagged[],
  wanted: (matched: Matched) => boolean,
  budget = newBudget(),
): string | undefined {
  const places: Places = { steps: [], also: [], tags: [], ends: [] };
  const begins = patterns.map(({ pattern, tag }) => {
    const begin = newPlace(places, tag);
    places.ends[add(places, pattern, begin, tag)] = true;
    return begin;
  });
  const representatives = byteClasses([
    singleByte(SLASH),
    singleByte(DOT),
    ...patterns.flatMap(({ pattern }) => setsOf(pattern)),
  ]);
  // The setup counts as well: many small questions are no cheaper than a large one.
  budget.steps -= places.tags.length * (8 + representatives.length);
  if (budget.steps < 0) throw tooComplex();
  const moves = places.steps.map((steps) =>
    steps.map(({ set, to }) => ({
      to,
      on: Uint8Array.from(representatives, (byte) => Number((set >> BigInt(byte)) & 1n)),
    })),
  );
  const close = closure(places);

  interface State {
    readonly clean: number;
    readonly at: readonly number[];
    readonly before: State | undefined;
    readonly byte: number;
  }
  const seen = new Set<string>();
  const queue: State[] = [{ clean: CLEAN.begin, at: close(begins), before: undefined, byte: 0 }];
  for (let next = 0; next < queue.length; next++) {
    const state = queue[next];
    if (state === undefined) break;
    if (isWhole(state.clean)) {
      const tags = new Set(
        state.at.filter((place) => places.ends[place] === true).map((place) => places.tags[place] ?? -1),
      );
      if (tags.size > 0 && wanted((tag) => tags.has(tag))) return pathTo(state);
    }
    representatives.forEach((byte, kind) => {
      const clean = cleanStep(state.clean, byte);
      if (clean < 0) return;
      budget.steps -= state.at.length + 1;
      const reached: number[] = [];
      for (const place of state.at) {
        for (const move of moves[place] ?? []) if (move.on[kind] === 1) reached.push(move.to);
      }
      if (reached.length === 0) return;
      const at = close(reached);
      const key = `${clean}:${at.join()}`;
      if (seen.has(key)) return;
      seen.add(key);
      queue.push({ clean, at, before: state, byte });
    });
    if (budget.steps < 0 || queue.length > MAX_STATES) throw tooComplex();
  }
  return undefined;

  function pathTo(state: State): string {
    const bytes: number[] = [];
    for (let at = state; at.before !== undefined; at = at.before) bytes.push(at.byte);
    return new TextDecoder().decode(Uint8Array.from(bytes.reverse()));
  }
}

/** Returns whether the path matches the pattern. */
export function matchesPath(pattern: PatternSequence, path: string): boolean {
  const places: Places = { steps: [], also: [], tags: [], ends: [] };
  const begin = newPlace(places, 0);
  places.ends[add(places, pattern, begin, 0)] = true;
  const close = closure(places);
  let at = close([begin]);
  for (const byte of new TextEncoder().encode(path)) {
    at = close(
      at.flatMap((place) =>
        (places.steps[place] ?? []).filter(({ set }) => (set >> BigInt(byte)) & 1n).map(({ to }) => to),
      ),
    );
  }
  return at.some((place) => places.ends[place] === true);
}

/** Extends sets of positions by those that are reachable without a byte: sorted, without duplicates. */
function closure(places: Places): (from: readonly number[]) => number[] {
  return (from) => {
    const found = new Set(from);
    for (const place of found) for (const other of places.also[place] ?? []) found.add(other);
    return [...found].sort((a, b) => a - b);
  };
}

export function tooComplex(attempted = 'compare file rules'): Error {
  return entitlementsError('ENTITLEMENTS_TOO_COMPLEX', {
    kind: 'exhausted',
    attempted,
    on: '',
    why: 'the path patterns divide into too many cases',
    fix: 'use fewer patterns, or patterns with fewer wildcards',
  });
}
