import { largest } from '../../base/lists/index.ts';
import type { Architecture } from '../types.ts';
import { argumentTest } from './argument-test.ts';
import type { ArgumentTest } from './argument-test.ts';
import { clause } from './clause.ts';
import { always, decision } from './decision.ts';
import type { Decision } from './decision.ts';
import { tighter } from './outcome.ts';
import { decisionFor } from './policy.ts';
import type { CompatArchitecture, FilteredPolicy } from './policy.ts';
import {
  ARM_EQUIVALENTS,
  COMMON_EQUIVALENTS,
  MULTIPLEXED,
  SPLIT_FROM,
  X86_EQUIVALENTS,
} from './compat-calls.ts';
import table from './tables/compat.json' with { type: 'json' };

/** The calls of one compatibility architecture that a policy covers. */
export interface CompatCalls {
  readonly name: CompatArchitecture;
  /** AUDIT_ARCH_* (linux/audit.h). */
  readonly arch: number;
  /** Set in every number: x32 shares x86_64's AUDIT_ARCH and has its own bit. */
  readonly bit: number;
  /** The answer for each number, without `bit`. */
  readonly decisions: ReadonlyMap<number, Decision>;
  /** Numbers from here to `until` are newer than the tables. */
  readonly beyond: number;
  readonly until: number;
}

/** __X32_SYSCALL_BIT (asm/unistd.h). */
export const X32_BIT = 0x40000000;

/**
 * Numbers from here on are not system calls of any architecture: -1 and similar values, with which a tracer
 * skips a call.
 */
const END_OF_X32 = 0x80000000;

/** __ARM_NR_BASE (arch/arm/include/uapi/asm/unistd.h): arm's private calls. */
const ARM_PRIVATE = 0xf0000;

const MACHINES: Readonly<
  Record<
    CompatArchitecture,
    { readonly on: Architecture; readonly arch: number; readonly numbers: Readonly<Record<string, number>> }
  >
> = {
  arm: { on: 'aarch64', arch: 0x40000028, numbers: table.arm },
  x32: { on: 'x86_64', arch: 0xc000003e, numbers: table.x32 },
  x86: { on: 'x86_64', arch: 0x40000003, numbers: table.x86 },
};

/** Returns the numbers of a compatibility architecture's calls by name; those of x32 without its bit. */
export function compatNumbers(name: CompatArchitecture): ReadonlyMap<string, number> {
  return new Map(Object.entries(MACHINES[name].numbers));
}

/**
 * Returns the answers of the policy's compatibility architectures on a machine, without the architectures of
 * other machines.
 */
export function compatCalls(policy: FilteredPolicy, architecture: Architecture): CompatCalls[] {
  return policy.compat
    .filter((name) => MACHINES[name].on === architecture)
    .map((name) => {
      const numbers = [...compatNumbers(name)];
      const decisions = new Map(
        numbers.map(([call, number]) => [number, compatDecision(policy, name, call)]),
      );
      const [bit, until] = name === 'x32' ? [X32_BIT, END_OF_X32] : [0, 2 ** 32];
      const beyond =
        1 + largest(numbers.map(([, number]) => number).filter((number) => number < ARM_PRIVATE));
      return { name, arch: MACHINES[name].arch, bit, decisions, beyond, until };
    });
}

/**
 * Returns the answer to a call of a compatibility architecture: the answer to the native call that does the
 * same, so that one name grants an operation in all its forms (`mmap` also grants x86's `mmap2`). It is never
 * looser than the policy intends:
 * - a multiplexer (x86's `socketcall` and `ipc`) hides its arguments in memory: it gets the tightest answer
 *   of all calls behind it;
 * - a condition on an argument whose position differs there, because a 64-bit argument takes two registers,
 *   or of which the kernel reads fewer bits, grants nothing;
 * - a condition on a 64-bit argument grants values up to 2³¹−1: the kernel sign-extends some arguments, and
 *   these values are the same in both cases.
 */
export function compatDecision(
  policy: FilteredPolicy,
  architecture: CompatArchitecture,
  call: string,
): Decision {
  const behind = architecture === 'x86' ? MULTIPLEXED[call] : undefined;
  if (behind !== undefined)
    return always(behind.map((name) => decisionFor(policy, name).otherwise).reduce(tighter));
  if (architecture === 'x32') {
    const number = MACHINES.x32.numbers[call] ?? 0;
    const native = decisionFor(policy, call);
    return number < FIRST_OWN_X32 ? native : narrowed(native, SPLIT_FROM.x32[call] ?? 6);
  }
  const own = architecture === 'x86' ? X86_EQUIVALENTS : ARM_EQUIVALENTS;
  return narrowed(
    decisionFor(policy, own[call] ?? COMMON_EQUIVALENTS[call] ?? call),
    SPLIT_FROM[architecture][call] ?? 6,
  );
}

/** The first number of x32's own variants (syscall_64.tbl): their pointers and longs have 32 bits. */
const FIRST_OWN_X32 = 512;

/**
 * Returns the decision without conditions that 32-bit registers cannot decide. @param from the first argument
 * whose position or width differs
 */
function narrowed(of: Decision, from: number): Decision {
  if (of.pieces.length === 0) return of;
  const pieces = of.pieces.flatMap(({ outcome, when }) => {
    const tests = when.map((test) => narrowedTest(test, from));
    return tests.includes(undefined)
      ? []
      : [{ outcome, when: clause(tests.filter((test) => test !== undefined)) }];
  });
  return decision(of.otherwise, pieces);
}

function narrowedTest(test: ArgumentTest, from: number): ArgumentTest | undefined {
  if (test.index >= from) return undefined;
  if (test.width !== 64) return test;
  const { index, width, low, mask, value } = test;
  const high = test.high < LARGEST ? test.high : LARGEST;
  return argumentTest(index, width, { low, high, mask, value });
}

const LARGEST = 0x7fffffffn;
