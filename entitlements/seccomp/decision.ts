import {
  clauseKey,
  clauseWithin,
  intersectClauses,
  limitClauses,
  matches,
  remaining,
  witnessOf,
} from './clause.ts';
import type { Arguments, Clause } from './clause.ts';
import { looser, rank, tighter } from './outcome.ts';
import type { Outcome } from './outcome.ts';
import { mergeAdjacent } from './merge-adjacent.ts';

/** The calls of one clause get at least this outcome. */
export interface Piece {
  readonly outcome: Outcome;
  readonly when: Clause;
}

/**
 * The answer to one system call, as a function of its arguments: the loosest outcome among `otherwise` and
 * the matching pieces. In this form both meet and join are exact: join collects the pieces of both, meet
 * intersects them.
 */
export interface Decision {
  readonly otherwise: Outcome;
  /** All looser than `otherwise`; sorted, loosest first. */
  readonly pieces: readonly Piece[];
}

const constants = new Map<Outcome, Decision>();

/** Returns the same outcome for all arguments. */
export function always(outcome: Outcome): Decision {
  let found = constants.get(outcome);
  if (found === undefined) {
    found = { otherwise: outcome, pieces: [] };
    constants.set(outcome, found);
  }
  return found;
}

export function isConstant(decision: Decision): boolean {
  return decision.pieces.length === 0;
}

/** Returns a decision in its simplest form: no piece without effect, adjacent intervals merged. */
export function decision(otherwise: Outcome, pieces: readonly Piece[]): Decision {
  limitClauses(pieces.length);
  let floor = otherwise;
  for (const piece of pieces) if (piece.when.length === 0) floor = looser(floor, piece.outcome);
  const useful = pieces.filter((piece) => rank(piece.outcome) > rank(floor));
  if (useful.length === 0) return always(floor);
  const byOutcome = new Map<Outcome, Clause[]>();
  for (const piece of useful) {
    const list = byOutcome.get(piece.outcome);
    if (list === undefined) byOutcome.set(piece.outcome, [piece.when]);
    else list.push(piece.when);
  }
  const kept: Piece[] = [];
  for (const outcome of [...byOutcome.keys()].sort((a, b) => rank(b) - rank(a))) {
    for (const when of mergeAdjacent(byOutcome.get(outcome) ?? [])) {
      if (when.length === 0) return decision(outcome, kept);
      if (!kept.some((other) => clauseWithin(when, other.when))) kept.push({ outcome, when });
    }
  }
  return { otherwise: floor, pieces: kept };
}

export function decide(of: Decision, args: Arguments): Outcome {
  // Pieces are sorted loosest first, so the first match is the loosest one.
  return of.pieces.find((piece) => matches(piece.when, args))?.outcome ?? of.otherwise;
}

/** Returns the greatest decision that grants no more than either. */
export function meetDecisions(a: Decision, b: Decision): Decision {
  if (a === b) return a;
  if (isConstant(a) && isConstant(b)) return always(tighter(a.otherwise, b.otherwise));
  const ours: Piece[] = [...a.pieces, { outcome: a.otherwise, when: [] }];
  const theirs: Piece[] = [...b.pieces, { outcome: b.otherwise, when: [] }];
  limitClauses(ours.length * theirs.length);
  const crossed: Piece[] = [];
  for (const one of ours) {
    for (const other of theirs) {
      const when = intersectClauses(one.when, other.when);
      if (when !== undefined) crossed.push({ outcome: tighter(one.outcome, other.outcome), when });
    }
  }
  return decision(tighter(a.otherwise, b.otherwise), crossed);
}

/** Returns the least decision that grants no less than either. */
export function joinDecisions(a: Decision, b: Decision): Decision {
  if (a === b) return a;
  return decision(looser(a.otherwise, b.otherwise), [...a.pieces, ...b.pieces]);
}

/** Returns arguments for which `inner` grants more than `outer`; undefined if there are none. */
export function exceeds(outer: Decision, inner: Decision): bigint[] | undefined {
  if (outer === inner) return undefined;
  for (const piece of [...inner.pieces, { outcome: inner.otherwise, when: [] }]) {
    const wanted = rank(piece.outcome);
    if (rank(outer.otherwise) >= wanted) continue;
    const granted = outer.pieces
      .filter((candidate) => rank(candidate.outcome) >= wanted)
      .map((candidate) => candidate.when);
    const left = remaining(piece.when, granted);
    if (left !== undefined) return witnessOf(left);
  }
  return undefined;
}

/** Returns a key: equal keys mean equal decisions. */
export function decisionKey(of: Decision): string {
  return [...of.pieces.map((piece) => `${piece.outcome} if ${clauseKey(piece.when)}`), of.otherwise].join(
    '; ',
  );
}
