import { argumentTest, boundsFollowFromMask } from '../seccomp/argument-test.ts';
import type { ArgumentTest } from '../seccomp/argument-test.ts';
import { clause } from '../seccomp/clause.ts';
import type { Clause } from '../seccomp/clause.ts';
import { always, decision, isConstant } from '../seccomp/decision.ts';
import type { Decision } from '../seccomp/decision.ts';
import { errno, errnoOf, rank } from '../seccomp/outcome.ts';
import type { Outcome } from '../seccomp/outcome.ts';
import { filteredPolicy, UNFILTERED } from '../seccomp/policy.ts';
import type { CompatArchitecture, SyscallPolicy } from '../seccomp/policy.ts';
import { argumentWidth } from '../seccomp/syscalls.ts';

/** The filter in the document of an exact profile. */
export type WrittenSyscalls =
  | 'unfiltered'
  | {
      readonly otherwise: string;
      readonly architectures?: readonly CompatArchitecture[];
      readonly answers?: Readonly<Record<string, readonly string[]>>;
      readonly conditional?: Readonly<Record<string, readonly string[]>>;
    };

/** Returns a policy as plain values from which {@link readSyscalls} creates an equal policy. */
export function writeSyscalls(policy: SyscallPolicy): WrittenSyscalls {
  if (!policy.filtered) return 'unfiltered';
  const answers: Record<string, string[]> = {};
  const conditional: Record<string, string[]> = {};
  for (const [name, of] of policy.rules) {
    if (isConstant(of)) (answers[of.otherwise] ??= []).push(name);
    else
      conditional[name] = [
        ...of.pieces.map(({ outcome, when }) => `${outcome} if ${when.map(testText).join(' and ')}`),
        of.otherwise,
      ];
  }
  return {
    otherwise: policy.fallback,
    ...(policy.compat.length === 0 ? {} : { architectures: policy.compat }),
    ...(Object.keys(answers).length === 0 ? {} : { answers }),
    ...(Object.keys(conditional).length === 0 ? {} : { conditional }),
  };
}

function testText(test: ArgumentTest): string {
  const name = `arg${test.index}`;
  if (test.low === test.high) return `${name} = ${number(test.low)}`;
  return [
    ...(test.mask === 0n ? [] : [`${name} & 0x${test.mask.toString(16)} = 0x${test.value.toString(16)}`]),
    ...(test.mask !== 0n && boundsFollowFromMask(test)
      ? []
      : [`${name} in ${number(test.low)}..${number(test.high)}`]),
  ].join(' and ');
}

function number(value: bigint): string {
  return value < 1000n ? value.toString() : `0x${value.toString(16)}`;
}

/** Reports an error in the filter at a position. */
export type Wrong = (path: readonly (number | string)[], message: string, fix: string) => void;

/** @throws ENTITLEMENTS_TOO_COMPLEX */
export function readSyscalls(written: WrittenSyscalls, wrong: Wrong): SyscallPolicy {
  if (written === 'unfiltered') return UNFILTERED;
  const fallback = outcomeOf(written.otherwise);
  if (fallback === undefined) wrong(['otherwise'], ...badOutcome(written.otherwise));
  const rules = new Map<string, Decision>();
  const add = (name: string, of: Decision, path: readonly (number | string)[]): void => {
    if (!/^[a-z_][a-z0-9_]{0,63}$/.test(name))
      wrong(path, `\`${name.slice(0, 80)}\` is not a name of a system call`, 'see syscalls(2)');
    else if (rules.has(name)) wrong(path, `\`${name}\` has an answer already`, 'keep one of the two');
    else rules.set(name, of);
  };
  for (const [answer, names] of Object.entries(written.answers ?? {})) {
    const outcome = outcomeOf(answer);
    if (outcome === undefined) wrong(['answers', answer], ...badOutcome(answer));
    else names.forEach((name, at) => add(name, always(outcome), ['answers', answer, at]));
  }
  for (const [name, lines] of Object.entries(written.conditional ?? {})) {
    const of = readConditional(name, lines, wrong);
    if (of !== undefined) add(name, of, ['conditional', name]);
  }
  return filteredPolicy(fallback ?? 'kill-process', rules, written.architectures ?? []);
}

function readConditional(name: string, lines: readonly string[], wrong: Wrong): Decision | undefined {
  const pieces: { readonly outcome: Outcome; readonly when: Clause }[] = [];
  const otherwise = outcomeOf(lines.at(-1) ?? '');
  if (otherwise === undefined) {
    wrong(
      ['conditional', name],
      'the last line is not the answer to the rest',
      'end with an answer alone, such as errno 1',
    );
    return undefined;
  }
  lines.slice(0, -1).forEach((line, at) => {
    const [, answer = '', conditions = ''] = /^(.+?) if (.+)$/.exec(line) ?? [];
    const outcome = outcomeOf(answer);
    const tests = conditions.split(' and ').map((text) => readTest(name, text));
    const whole = tests.filter((test) => test !== undefined);
    const when = whole.length < tests.length ? undefined : joined(whole);
    if (outcome === undefined || when === undefined) {
      wrong(
        ['conditional', name, at],
        `\`${line.slice(0, 120)}\` is not a rule`,
        'write it as: allow if arg0 in 0..37 and arg1 & 0xf = 0x1',
      );
    } else if (rank(outcome) <= rank(otherwise)) {
      wrong(
        ['conditional', name, at],
        `${outcome} grants no more than ${otherwise}, the answer to the rest`,
        'let conditions grant, and end with the tightest answer',
      );
    } else pieces.push({ outcome, when });
  });
  return pieces.length < lines.length - 1 ? undefined : decision(otherwise, pieces);
}

/** Joins the tests of one argument into one interval and mask. Undefined if no value passes both. */
function joined(tests: readonly ArgumentTest[]): Clause | undefined {
  const byIndex = new Map<number, ArgumentTest>();
  for (const test of tests) {
    const other = byIndex.get(test.index);
    const both =
      other === undefined
        ? test
        : argumentTest(test.index, test.width, {
            low: test.low > other.low ? test.low : other.low,
            high: test.high < other.high ? test.high : other.high,
            mask: test.mask | other.mask,
            value: test.value | other.value,
          });
    if (both === undefined) return undefined;
    byIndex.set(test.index, both);
  }
  return clause([...byIndex.values()]);
}

function readTest(name: string, text: string): ArgumentTest | undefined {
  const digits = '(0x[0-9a-f]{1,16}|[0-9]{1,20})';
  const found = new RegExp(
    `^arg([0-5]) (?:= ${digits}|in ${digits}\\.\\.${digits}|& ${digits} = ${digits})$`,
  ).exec(text);
  if (found === null) return undefined;
  const [, index = '', equal, low, high, mask, value] = found;
  const at = Number(index);
  const width = argumentWidth(name, at);
  if (equal !== undefined) return argumentTest(at, width, { low: BigInt(equal), high: BigInt(equal) });
  if (low !== undefined && high !== undefined)
    return argumentTest(at, width, { low: BigInt(low), high: BigInt(high) });
  return argumentTest(at, width, { mask: BigInt(mask ?? 0), value: BigInt(value ?? 0) });
}

function outcomeOf(text: string): Outcome | undefined {
  const number = /^errno ([0-9]{1,4})$/.exec(text)?.[1];
  if (number !== undefined)
    return errnoOf(errno(Number(number))) === Number(number) ? errno(Number(number)) : undefined;
  return (['allow', 'log', 'trap', 'kill-thread', 'kill-process'] as const).find((known) => known === text);
}

function badOutcome(text: string): [string, string] {
  return [
    `\`${text.slice(0, 40)}\` is not an answer`,
    'use allow, log, errno 1 … errno 4095, trap, kill-thread or kill-process',
  ];
}
