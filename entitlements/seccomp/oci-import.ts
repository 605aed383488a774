import { append } from '../../base/lists/index.ts';
import { entitlementsError } from '../errors.ts';
import { argumentTest } from './argument-test.ts';
import type { ArgumentTest, Width } from './argument-test.ts';
import { clause, subtract } from './clause.ts';
import type { Clause } from './clause.ts';
import { decision } from './decision.ts';
import type { Decision, Piece } from './decision.ts';
import { errno, rank } from './outcome.ts';
import type { Outcome } from './outcome.ts';
import { filteredPolicy } from './policy.ts';
import type { SyscallPolicy } from './policy.ts';
import { readOciSeccomp } from './oci-shape.ts';
import type { OciArgument, OciRule } from './oci-shape.ts';
import { argumentWidth } from './syscalls.ts';

/**
 * Imports an OCI seccomp object (runtime-spec, config-linux.md#seccomp) as a policy with the same meaning,
 * with three differences, each tighter:
 * - conditions on arguments that the kernel reads in 32 or 16 bits apply to those bits alone;
 * - if rules with different actions match one call, the most restrictive counts;
 * - only the native architecture is kept.
 *
 * Conditions that repeat an argument index within one rule are alternatives, each a separate rule, as in
 * runc.
 * @throws ENTITLEMENTS_BAD_SECCOMP for a malformed object, ENTITLEMENTS_UNSUPPORTED for notify and trace,
 * ENTITLEMENTS_TOO_COMPLEX
 */
export function policyFromOci(json: unknown): SyscallPolicy {
  const oci = readOciSeccomp(json);
  const fallback = outcomeOf(oci.defaultAction, oci.defaultErrnoRet);
  const byName = new Map<string, OciRule[]>();
  for (const rule of oci.syscalls) {
    for (const name of rule.names) byName.set(name, [...(byName.get(name) ?? []), rule]);
  }
  let cases = 0;
  const decided = [...byName].map(([name, rules]) => {
    const answers = decisionOf(name, rules, fallback, argumentWidth, (more) => {
      cases += more;
      if (cases > MAX_CASES) throw tooComplex(name);
    });
    return [name, answers] as const;
  });
  return filteredPolicy(fallback, decided);
}

/**
 * The maximum number of cases into which the conditions on all calls together divide. It limits the time of
 * one file to about a second; the profiles of docker, containerd and CRI-O have fewer than a hundred.
 */
const MAX_CASES = 8192;

function tooComplex(name: string): Error {
  return entitlementsError('ENTITLEMENTS_TOO_COMPLEX', {
    kind: 'exhausted',
    attempted: 'read seccomp profile',
    on: name,
    why: `the conditions of its rules divide into more than ${MAX_CASES} cases`,
    fix: 'use fewer or simpler argument conditions',
  });
}

/** Returns how many bits of an argument a condition compares. */
type WidthOf = (name: string, index: number) => Width;

/**
 * Returns the answer of the rules that name a call.
 * @param widthOf the bits that conditions compare. Default: the bits that the kernel reads
 * @param count is called with the number of cases as they arise, and may throw
 * @throws ENTITLEMENTS_UNSUPPORTED, ENTITLEMENTS_TOO_COMPLEX
 */
export function decisionOf(
  name: string,
  rules: readonly OciRule[],
  fallback: Outcome,
  widthOf: WidthOf = argumentWidth,
  count: (cases: number) => void = () => undefined,
): Decision {
  const regions = new Map<Outcome, Clause[]>();
  for (const rule of rules) {
    const outcome = outcomeOf(rule.action, rule.errnoRet);
    const clauses = clausesOf(name, rule.args, widthOf);
    if (rule.args.length > 0) count(clauses.length);
    regions.set(outcome, [...(regions.get(outcome) ?? []), ...clauses]);
  }
  // Tightest first: each outcome keeps the calls that no tighter rule matches. Calls that no rule matches get
  // the fallback.
  const pieces: Piece[] = [];
  let taken: Clause[] = [];
  for (const [outcome, clauses] of [...regions].sort(([a], [b]) => rank(a) - rank(b))) {
    append(
      pieces,
      subtract(clauses, taken).map((when) => ({ outcome, when })),
    );
    taken = [...taken, ...clauses];
  }
  const lowest = [fallback, ...regions.keys()].reduce((a, b) => (rank(a) <= rank(b) ? a : b));
  if (lowest !== fallback)
    append(
      pieces,
      subtract([[]], taken).map((when) => ({ outcome: fallback, when })),
    );
  count(pieces.filter(({ when }) => when.length > 0).length);
  return decision(lowest, pieces);
}

function clausesOf(name: string, args: readonly OciArgument[], widthOf: WidthOf): Clause[] {
  const repeated = new Set(args.map((arg) => arg.index)).size < args.length;
  if (repeated) return args.flatMap((arg) => testsOf(name, arg, widthOf).map((test) => clause([test])));
  return args.reduce<Clause[]>(
    (clauses, arg) =>
      clauses.flatMap((tests) => testsOf(name, arg, widthOf).map((test) => clause([...tests, test]))),
    [[]],
  );
}

/**
 * Returns the values that pass a condition, as alternatives; none if no value of the argument's width passes.
 */
function testsOf(name: string, arg: OciArgument, widthOf: WidthOf): ArgumentTest[] {
  const { index } = arg;
  const width = widthOf(name, index);
  const value = narrowed(arg.value, width);
  const test = (set: { low?: bigint; high?: bigint; mask?: bigint; value?: bigint }): ArgumentTest[] => {
    const found = argumentTest(index, width, set);
    return found === undefined ? [] : [found];
  };
  switch (arg.op) {
    case 'SCMP_CMP_EQ':
      return test({ low: value, high: value });
    case 'SCMP_CMP_NE':
      return [...(value > 0n ? test({ high: value - 1n }) : []), ...test({ low: value + 1n })];
    case 'SCMP_CMP_LT':
      return arg.value > 0n ? test({ high: arg.value - 1n }) : [];
    case 'SCMP_CMP_LE':
      return test({ high: arg.value });
    case 'SCMP_CMP_GE':
      return test({ low: arg.value });
    case 'SCMP_CMP_GT':
      return test({ low: arg.value + 1n });
    case 'SCMP_CMP_MASKED_EQ':
      return test({ mask: arg.value, value: arg.valueTwo & arg.value });
  }
}

/** Returns a negative int that was written sign-extended to 64 bits, in the bits that the kernel reads. */
function narrowed(value: bigint, width: Width): bigint {
  const negative = value >> BigInt(width - 1) === (1n << BigInt(65 - width)) - 1n;
  return width !== 64 && negative ? BigInt.asUintN(width, value) : value;
}

const usable = 'use SCMP_ACT_ALLOW, LOG, ERRNO, TRAP, KILL_THREAD or KILL_PROCESS';

/** @throws ENTITLEMENTS_UNSUPPORTED for notify and trace, ENTITLEMENTS_BAD_SECCOMP for an unknown action */
export function outcomeOf(action: string, errnoRet: number | undefined): Outcome {
  switch (action) {
    case 'SCMP_ACT_ALLOW':
      return 'allow';
    case 'SCMP_ACT_LOG':
      return 'log';
    case 'SCMP_ACT_ERRNO':
      return errno(errnoRet ?? 1);
    case 'SCMP_ACT_TRAP':
      return 'trap';
    case 'SCMP_ACT_KILL':
    case 'SCMP_ACT_KILL_THREAD':
      return 'kill-thread';
    case 'SCMP_ACT_KILL_PROCESS':
      return 'kill-process';
    case 'SCMP_ACT_NOTIFY':
    case 'SCMP_ACT_TRACE':
      throw entitlementsError('ENTITLEMENTS_UNSUPPORTED', {
        kind: 'unimplemented',
        attempted: 'read seccomp profile',
        on: action,
        why: 'this action needs a supervisor, and none is attached',
        fix: usable,
      });
    default:
      throw entitlementsError('ENTITLEMENTS_BAD_SECCOMP', {
        kind: 'invalid',
        attempted: 'read seccomp profile',
        on: JSON.stringify(action.slice(0, 100)),
        why: 'there is no such action',
        fix: usable,
      });
  }
}
