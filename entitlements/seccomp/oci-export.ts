import { append } from '../../base/lists/index.ts';
import type { Architecture, OciSeccomp } from '../types.ts';
import { boundsFollowFromMask, intersectTests, isAny, maxOf } from './argument-test.ts';
import type { ArgumentTest } from './argument-test.ts';
import { limitClauses, subtract } from './clause.ts';
import type { Clause } from './clause.ts';
import { isConstant } from './decision.ts';
import type { Decision, Piece } from './decision.ts';
import { errnoOf } from './outcome.ts';
import type { Outcome } from './outcome.ts';
import type { FilteredPolicy } from './policy.ts';
import { syscallNumbers } from './syscalls.ts';

type Rule = OciSeccomp['syscalls'][number];
type RuleArgument = NonNullable<Rule['args']>[number];

const SCMP_ARCH: Readonly<Record<Architecture, string>> = {
  x86_64: 'SCMP_ARCH_X86_64',
  aarch64: 'SCMP_ARCH_AARCH64',
};

/**
 * Exports the policy as an OCI seccomp object, for runtimes that compile their own filter through libseccomp.
 * Every condition is a SCMP_CMP_MASKED_EQ, at most one per argument and rule: runc treats conditions that
 * repeat an index as alternatives, and libseccomp 2.5.4 merges 64-bit order comparisons wrongly
 * (GHSA-4q85-33p6-j5g6). A range becomes the masks of its aligned blocks. Rules with different outcomes never
 * overlap. runc itself answers ENOSYS to calls newer than the tables.
 * @throws ENTITLEMENTS_TOO_COMPLEX if one call needs more than 1024 rules
 */
export function exportOci(policy: FilteredPolicy, architecture: Architecture): OciSeccomp {
  const numbers = syscallNumbers(architecture);
  const constant = new Map<Outcome, string[]>();
  const conditional: Rule[] = [];
  for (const [name, decision] of policy.rules) {
    if (!numbers.has(name)) continue;
    if (isConstant(decision))
      constant.set(decision.otherwise, [...(constant.get(decision.otherwise) ?? []), name]);
    else append(conditional, conditionalRules(name, decision, policy.fallback));
  }
  const whole = [...constant].map(([outcome, names]): Rule => ({ names, ...action(outcome) }));
  const { action: defaultAction, errnoRet } = action(policy.fallback);
  return {
    defaultAction,
    ...(errnoRet === undefined ? {} : { defaultErrnoRet: errnoRet }),
    architectures: [SCMP_ARCH[architecture]],
    syscalls: [...whole, ...conditional],
  };
}

function conditionalRules(name: string, decision: Decision, fallback: Outcome): Rule[] {
  const disjoint: Piece[] = [];
  let taken: Clause[] = [];
  // They are sorted loosest first: each call keeps the loosest outcome that matches it.
  for (const outcome of new Set(decision.pieces.map((piece) => piece.outcome))) {
    const clauses = decision.pieces.filter((piece) => piece.outcome === outcome).map((piece) => piece.when);
    append(
      disjoint,
      subtract(clauses, taken).map((when) => ({ outcome, when })),
    );
    taken = [...taken, ...clauses];
  }
  append(
    disjoint,
    subtract([[]], decision.otherwise === fallback ? [[]] : taken).map((when) => ({
      outcome: decision.otherwise,
      when,
    })),
  );
  const rules: Rule[] = [];
  for (const piece of disjoint) {
    if (piece.outcome === fallback) continue;
    for (const rule of rulesOf(name, piece)) rules.push(rule);
    // Each piece has its own limit, and there may be as many pieces, so this limits the total.
    limitClauses(rules.length);
  }
  return rules;
}

function rulesOf(name: string, piece: Piece): Rule[] {
  let combinations: RuleArgument[][] = [[]];
  for (const test of piece.when) {
    const blocks = maskedBlocks(test);
    combinations = combinations.flatMap((args) => blocks.map((block) => [...args, block]));
    limitClauses(combinations.length);
  }
  return combinations.map((args) => ({
    names: [name],
    ...action(piece.outcome),
    ...(args.length === 0 ? {} : { args }),
  }));
}

/**
 * Returns the values of a test as conditions `(argument & mask) = value`: one for each aligned block of its
 * interval.
 */
function maskedBlocks(test: ArgumentTest): RuleArgument[] {
  const all = maxOf(test.width);
  const found: RuleArgument[] = [];
  const add = (mask: bigint, value: bigint): void => {
    found.push({ index: test.index, op: 'SCMP_CMP_MASKED_EQ', value: plain(mask), valueTwo: plain(value) });
  };
  if (test.mask !== 0n && boundsFollowFromMask(test)) {
    add(test.mask, test.value);
    return found;
  }
  let from = test.low;
  while (from <= test.high) {
    let size = 1n;
    while (from % (size * 2n) === 0n && from + size * 2n - 1n <= test.high && size < all + 1n) size *= 2n;
    const block: ArgumentTest = { ...test, low: 0n, high: all, mask: all & ~(size - 1n), value: from };
    const both = test.mask === 0n ? block : withMask(block, test);
    if (both !== undefined && !isAny(both)) add(both.mask, both.value);
    from += size;
  }
  return found;
}

/**
 * Returns the block with the test's mask added, as a mask and not as the interval to which it may simplify;
 * undefined if they exclude each other.
 */
function withMask(block: ArgumentTest, test: ArgumentTest): ArgumentTest | undefined {
  if (intersectTests({ ...block }, test) === undefined) return undefined;
  return { ...block, mask: block.mask | test.mask, value: block.value | test.value };
}

function action(outcome: Outcome): { action: string; errnoRet?: number } {
  switch (outcome) {
    case 'allow':
      return { action: 'SCMP_ACT_ALLOW' };
    case 'log':
      return { action: 'SCMP_ACT_LOG' };
    case 'trap':
      return { action: 'SCMP_ACT_TRAP' };
    case 'kill-thread':
      return { action: 'SCMP_ACT_KILL_THREAD' };
    case 'kill-process':
      return { action: 'SCMP_ACT_KILL_PROCESS' };
    default:
      return { action: 'SCMP_ACT_ERRNO', errnoRet: errnoOf(outcome) ?? 1 };
  }
}

/** Returns a number if it is exact: JSON.stringify does not accept a bigint. */
function plain(value: bigint): number | bigint {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}
