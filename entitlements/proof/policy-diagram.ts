import { append, largest } from '../../base/lists/index.ts';
import type { ArgumentTest } from '../seccomp/argument-test.ts';
import type { Clause } from '../seccomp/clause.ts';
import { compatCalls, X32_BIT } from '../seccomp/compat.ts';
import type { CompatCalls } from '../seccomp/compat.ts';
import type { Decision } from '../seccomp/decision.ts';
import { beyondTables } from '../seccomp/outcome.ts';
import type { Outcome } from '../seccomp/outcome.ts';
import { decisionFor } from '../seccomp/policy.ts';
import type { FilteredPolicy } from '../seccomp/policy.ts';
import { AUDIT_ARCH, syscallNumbers } from '../seccomp/syscalls.ts';
import type { Architecture } from '../types.ts';
import { answerOfOutcome, answerRank } from './answer.ts';
import { and, ARCH_WORD, argumentVariable, NR_WORD, wordVariable } from './conditions.ts';
import { FALSE, TRUE } from './node-table.ts';
import type { DiagramStore } from './diagram.ts';
import type { Node } from './node-table.ts';

/** The numbers from here up to the next entry. */
export interface NumberRange {
  readonly from: number;
  readonly answer: Node;
}

/**
 * Returns the answers of a policy, as a function of all calls. It is built from the policy's decisions and
 * shares no code with the code generator. Calls of other architectures kill the thread, unless the policy has
 * them under `compat`. Calls newer than the tables get ENOSYS if the fallback is an errno.
 * @param base calls that the runtime itself needs: each of its rules is granted as well; calls that it does
 * not name keep the policy's answer
 * @throws ENTITLEMENTS_TOO_COMPLEX
 */
export function diagramOfPolicy(
  store: DiagramStore,
  policy: FilteredPolicy,
  { architecture, base }: { readonly architecture: Architecture; readonly base?: FilteredPolicy },
): Node {
  const numbers = syscallNumbers(architecture);
  const constant = (outcome: Outcome): Node => store.leaf(answerOfOutcome(outcome));
  const fallback = constant(policy.fallback);
  const byNumber = new Map<number, Node>();
  for (const [name, number] of numbers) {
    const own = diagramOfDecision(store, decisionFor(policy, name));
    const needed = base?.rules.get(name);
    byNumber.set(
      number,
      needed === undefined ? own : store.combine(own, diagramOfDecision(store, needed), looserAnswer),
    );
  }
  const last = largest(numbers.values());
  const ranges: NumberRange[] = [];
  for (let number = 0; number <= last; number++)
    ranges.push({ from: number, answer: byNumber.get(number) ?? fallback });
  ranges.push({ from: last + 1, answer: constant(beyondTables(policy.fallback)) });
  const killed = constant('kill-thread');
  const others = compatCalls(policy, architecture);
  const x32 = others.find(({ bit }) => bit !== 0);
  if (x32 !== undefined) append(ranges, compatRanges(store, x32, policy.fallback));
  if (architecture === 'x86_64') ranges.push({ from: x32?.until ?? X32_BIT, answer: killed });
  let found = store.choose(
    wordIs(store, ARCH_WORD, AUDIT_ARCH[architecture]),
    byNumberRange(store, ranges),
    killed,
  );
  for (const calls of others) {
    if (calls === x32) continue;
    found = store.choose(
      wordIs(store, ARCH_WORD, calls.arch),
      byNumberRange(store, compatRanges(store, calls, policy.fallback)),
      found,
    );
  }
  return found;
}

/**
 * Returns the answers to a compatibility architecture's calls (seccomp/compat.ts describes each meaning). The
 * runtime's own calls are not included.
 */
function compatRanges(
  store: DiagramStore,
  { decisions, bit, beyond }: CompatCalls,
  fallback: Outcome,
): NumberRange[] {
  const [inside, outside] = [fallback, beyondTables(fallback)].map((outcome) =>
    store.leaf(answerOfOutcome(outcome)),
  );
  const ranges: NumberRange[] = [];
  for (let number = 0; number < beyond; number++) {
    const of = decisions.get(number);
    ranges.push({
      from: bit + number,
      answer: of === undefined ? (inside ?? FALSE) : diagramOfDecision(store, of),
    });
  }
  ranges.push({ from: bit + beyond, answer: outside ?? FALSE });
  // arm's private calls have much higher numbers than the others.
  for (const [number, of] of [...decisions].filter(([number]) => number > beyond).sort(([a], [b]) => a - b)) {
    ranges.push(
      { from: bit + number, answer: diagramOfDecision(store, of) },
      { from: bit + number + 1, answer: outside ?? FALSE },
    );
  }
  return ranges.filter(({ from }, at) => ranges[at + 1]?.from !== from);
}

function looserAnswer(a: number, b: number): number {
  return answerRank(a) >= answerRank(b) ? a : b;
}

/**
 * Returns the answer to one call, as a function of its arguments: the loosest outcome of the matching pieces
 * and `otherwise`.
 */
export function diagramOfDecision(store: DiagramStore, of: Decision): Node {
  const leafOf = (outcome: Outcome): Node => store.leaf(answerOfOutcome(outcome));
  let found = leafOf(of.otherwise);
  const tightestFirst = of.pieces.toSorted(
    (a, b) => answerRank(answerOfOutcome(a.outcome)) - answerRank(answerOfOutcome(b.outcome)),
  );
  const floor = answerRank(answerOfOutcome(of.otherwise));
  for (const { outcome, when } of tightestFirst) {
    if (answerRank(answerOfOutcome(outcome)) > floor)
      found = store.choose(conditionOfClause(store, when), leafOf(outcome), found);
  }
  return found;
}

function conditionOfClause(store: DiagramStore, when: Clause): Node {
  return when.reduce((all, test) => and(store, conditionOfTest(store, test), all), TRUE);
}

/** Tests low ≤ x ≤ high and (x & mask) = value, for the bits of the argument that the kernel reads. */
function conditionOfTest(store: DiagramStore, { index, width, low, high, mask, value }: ArgumentTest): Node {
  let [atLeast, atMost, masked] = [TRUE, TRUE, TRUE];
  for (let bit = 0; bit < width; bit++) {
    const level = argumentVariable(index, bit);
    const isSet = (number: bigint): boolean => ((number >> BigInt(bit)) & 1n) === 1n;
    atLeast = isSet(low) ? store.decide(level, atLeast, FALSE) : store.decide(level, TRUE, atLeast);
    atMost = isSet(high) ? store.decide(level, atMost, TRUE) : store.decide(level, FALSE, atMost);
    if (isSet(mask))
      masked = isSet(value) ? store.decide(level, masked, FALSE) : store.decide(level, FALSE, masked);
  }
  return and(store, and(store, atLeast, atMost), masked);
}

/** Returns the condition that a word of the call equals this number. */
export function wordIs(store: DiagramStore, word: number, value: number): Node {
  let found = TRUE;
  for (let bit = 0; bit < 32; bit++) {
    const level = wordVariable(word, bit);
    found =
      ((value >>> bit) & 1) === 1 ? store.decide(level, found, FALSE) : store.decide(level, FALSE, found);
  }
  return found;
}

/** Returns a function of the number: each range has its answer. @param ranges ascending, the first from 0 */
export function byNumberRange(store: DiagramStore, ranges: readonly NumberRange[]): Node {
  const distinct = ranges.filter(({ answer }, at) => at === 0 || answer !== ranges[at - 1]?.answer);
  const build = (first: number, from: number, bit: number): Node => {
    // `first` is the range that contains `from`. It may extend beyond the 2^(bit+1) numbers from there.
    const next = distinct[first + 1];
    if (next === undefined || next.from >= from + 2 ** (bit + 1)) return distinct[first]?.answer ?? FALSE;
    const middle = from + 2 ** bit;
    let upper = first;
    while ((distinct[upper + 1]?.from ?? Infinity) <= middle) upper += 1;
    return store.decide(
      wordVariable(NR_WORD, bit),
      build(upper, middle, bit - 1),
      build(first, from, bit - 1),
    );
  };
  return build(0, 0, 31);
}
