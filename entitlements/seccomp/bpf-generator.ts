import { largest } from '../../base/lists/index.ts';
import { entitlementsError } from '../errors.ts';
import type { Architecture } from '../types.ts';
import { boundsFollowFromMask, maxOf } from './argument-test.ts';
import type { ArgumentTest } from './argument-test.ts';
import { assemble, encode, JMP_JEQ_K, JMP_JGE_K, JMP_JGT_K, MAX_INSTRUCTIONS } from './bpf-assembler.ts';
import type { Line } from './bpf-assembler.ts';
import { compatCalls, X32_BIT } from './compat.ts';
import type { CompatCalls } from './compat.ts';
import { always, decisionKey, isConstant } from './decision.ts';
import type { Decision } from './decision.ts';
import { beyondTables, returnValue } from './outcome.ts';
import type { Outcome } from './outcome.ts';
import { decisionFor } from './policy.ts';
import type { FilteredPolicy } from './policy.ts';
import { AUDIT_ARCH, syscallNumbers } from './syscalls.ts';

/**
 * Offsets in `struct seccomp_data` (linux/seccomp.h): nr, arch, instruction pointer, six 64-bit arguments.
 */
const NR = 0;
const ARCH = 4;
const ARGS = 16;

/** The numbers from `from` up to the next entry have one decision. */
interface Interval {
  readonly from: number;
  readonly decision: Decision;
}

/** The answers to the calls of one AUDIT_ARCH. */
interface ArchitectureIntervals {
  readonly arch: number;
  readonly intervals: readonly Interval[];
}

/**
 * Compiles the policy to a classic BPF program for one machine: first the architecture, then a binary search
 * over the intervals of numbers with equal answers, then the arguments of the few calls that have conditions.
 * Calls of another architecture, and x32 calls, kill the thread, as with libseccomp, unless the policy has
 * them under `compat`.
 * @param compat the policy for calls of compatibility architectures, if `policy` contains additional calls
 * for the runtime
 * @throws ENTITLEMENTS_TOO_COMPLEX if the program exceeds the kernel's 4096 instructions
 */
export function generateBpf(policy: FilteredPolicy, architecture: Architecture, compat = policy): Uint8Array {
  const generator = newGenerator();
  const { lines } = generator;
  const bad = generator.leaf(always('kill-thread'));
  lines.push({ op: 'load', offset: ARCH });
  const all = architectureIntervals(policy, architecture, compat);
  all.forEach(({ arch, intervals }, at) => {
    const next = at === all.length - 1 ? bad : `arch ${at + 1}`;
    lines.push({ op: 'if', code: JMP_JEQ_K, k: arch, yes: `calls ${at}`, no: next });
    lines.push({ op: 'label', label: `calls ${at}` }, { op: 'load', offset: NR });
    generator.search(intervals);
    if (next !== bad) lines.push({ op: 'label', label: next });
  });
  generator.finish();
  const program = assemble(lines);
  if (program.length > MAX_INSTRUCTIONS) throw tooLong(program.length);
  return encode(program);
}

/** Returns the native architecture's intervals first. Each list covers 0 to 2³²−1. */
function architectureIntervals(
  policy: FilteredPolicy,
  architecture: Architecture,
  compat: FilteredPolicy,
): ArchitectureIntervals[] {
  const others = compatCalls(compat, architecture);
  const x32 = others.find(({ bit }) => bit !== 0);
  const numbers = syscallNumbers(architecture);
  const native = rangesOf({
    decisions: new Map([...numbers].map(([name, number]) => [number, decisionFor(policy, name)])),
    bit: 0,
    beyond: 1 + largest(numbers.values()),
    until: architecture === 'x86_64' ? X32_BIT : 2 ** 32,
    fallback: policy.fallback,
  });
  const above = x32 === undefined ? [] : rangesOf({ ...x32, fallback: compat.fallback });
  const killed = { from: x32?.until ?? X32_BIT, decision: always('kill-thread') };
  return [
    {
      arch: AUDIT_ARCH[architecture],
      intervals: merged([...native, ...above, ...(architecture === 'x86_64' ? [killed] : [])]),
    },
    ...others
      .filter((calls) => calls !== x32)
      .map((calls) => ({
        arch: calls.arch,
        intervals: merged(rangesOf({ ...calls, fallback: compat.fallback })),
      })),
  ];
}

/**
 * Returns one interval per number of the table, and one per gap between them. Numbers beyond the table get
 * ENOSYS if the fallback is an errno.
 */
function rangesOf(
  table: Pick<CompatCalls, 'decisions' | 'bit' | 'beyond' | 'until'> & { readonly fallback: Outcome },
): Interval[] {
  const { decisions, bit, beyond, until, fallback } = table;
  const found: Interval[] = [];
  let next = 0;
  const fill = (to: number): void => {
    if (next < Math.min(to, beyond)) found.push({ from: bit + next, decision: always(fallback) });
    if (to > beyond && to > next)
      found.push({ from: bit + Math.max(next, beyond), decision: always(beyondTables(fallback)) });
  };
  for (const [number, of] of [...decisions].sort(([a], [b]) => a - b)) {
    fill(number);
    found.push({ from: bit + number, decision: of });
    next = number + 1;
  }
  fill(until - bit);
  return found;
}

/** Merges adjacent intervals with equal decisions. */
function merged(intervals: readonly Interval[]): Interval[] {
  const keys = intervals.map(({ decision: of }) => decisionKey(of));
  return intervals.filter((_, at) => at === 0 || keys[at] !== keys[at - 1]);
}

interface Generator {
  readonly lines: Line[];
  leaf(decision: Decision): string;
  search(intervals: readonly Interval[]): void;
  finish(): void;
}

function newGenerator(): Generator {
  const lines: Line[] = [];
  const leaves = new Map<string, { label: string; decision: Decision }>();
  let labels = 0;
  const fresh = (): string => `l${labels++}`;

  const leaf = (decision: Decision): string => {
    const key = decisionKey(decision);
    let found = leaves.get(key);
    if (found === undefined) {
      found = { label: isConstant(decision) ? `return ${decision.otherwise}` : fresh(), decision };
      leaves.set(key, found);
    }
    return found.label;
  };

  const search = (intervals: readonly Interval[]): void => {
    const middle = heaviestSplit(intervals);
    const at = intervals[middle];
    if (at === undefined) return;
    if (intervals.length === 1) {
      lines.push({ op: 'go', to: leaf(at.decision) });
      return;
    }
    const halves = [intervals.slice(middle), intervals.slice(0, middle)].map((half) => {
      const single = half.length === 1 ? half[0] : undefined;
      return { half, single, label: single === undefined ? fresh() : leaf(single.decision) };
    });
    const [high, low] = halves;
    if (high === undefined || low === undefined) return;
    lines.push({ op: 'if', code: JMP_JGE_K, k: at.from, yes: high.label, no: low.label });
    for (const side of [low, high]) {
      if (side.single !== undefined) continue;
      lines.push({ op: 'label', label: side.label });
      search(side.half);
    }
  };

  const finish = (): void => {
    const outcomes = new Set<Outcome>();
    for (const { label, decision } of leaves.values()) {
      outcomes.add(decision.otherwise);
      for (const piece of decision.pieces) outcomes.add(piece.outcome);
      if (isConstant(decision)) continue;
      lines.push({ op: 'label', label });
      for (const piece of decision.pieces) {
        const no = fresh();
        for (const test of piece.when) argumentLines(test, no, fresh, lines);
        lines.push({ op: 'go', to: `return ${piece.outcome}` }, { op: 'label', label: no });
      }
      lines.push({ op: 'go', to: `return ${decision.otherwise}` });
    }
    for (const outcome of outcomes)
      lines.push({ op: 'label', label: `return ${outcome}` }, { op: 'return', k: returnValue(outcome) });
  };

  return { lines, leaf, search, finish };
}

/**
 * Returns where to split the intervals so that both sides contain the same number of calls that programs
 * make: those that are not simply denied. A number in a wide interval is then found in fewer steps than a
 * single one.
 */
function heaviestSplit(intervals: readonly Interval[]): number {
  const weights = intervals.map(({ from, decision: of }, at) => {
    const numbers = (intervals[at + 1]?.from ?? from + 1) - from;
    return isConstant(of) && of.otherwise !== 'allow' ? Math.min(numbers, DENIED_WEIGHT) : numbers;
  });
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let [best, least, below] = [intervals.length >> 1, Infinity, 0];
  for (let at = 1; at < intervals.length; at++) {
    below += weights[at - 1] ?? 0;
    const uneven = Math.abs(total - 2 * below);
    if (uneven < least) [best, least] = [at, uneven];
  }
  return best;
}

/** A denied interval counts as one call, regardless of how many numbers it has. */
const DENIED_WEIGHT = 1;

/** Continues if the argument passes, otherwise jumps to `no`. */
function argumentLines(test: ArgumentTest, no: string, fresh: () => string, lines: Line[]): void {
  const low = ARGS + 8 * test.index;
  const high = low + 4;
  const half = (value: bigint, which: 'high' | 'low'): number =>
    Number(which === 'high' ? value >> 32n : value & 0xffffffffn);
  const need = (code: typeof JMP_JEQ_K | typeof JMP_JGE_K, k: number): void => {
    const yes = fresh();
    lines.push({ op: 'if', code, k, yes, no }, { op: 'label', label: yes });
  };
  const refuseAbove = (k: number): void => {
    const yes = fresh();
    lines.push({ op: 'if', code: JMP_JGT_K, k, yes: no, no: yes }, { op: 'label', label: yes });
  };
  if (test.mask !== 0n) {
    for (const which of test.width === 64 ? (['high', 'low'] as const) : (['low'] as const)) {
      const mask = half(test.mask, which);
      if (mask === 0) continue;
      lines.push({ op: 'load', offset: which === 'high' ? high : low }, { op: 'and', k: mask });
      need(JMP_JEQ_K, half(test.value, which));
    }
  }
  if (boundsFollowFromMask(test)) return;
  if (test.width !== 64) {
    lines.push({ op: 'load', offset: low });
    if (test.width === 16) lines.push({ op: 'and', k: 0xffff });
    if (test.low === test.high) return need(JMP_JEQ_K, Number(test.low));
    if (test.low > 0n) need(JMP_JGE_K, Number(test.low));
    if (test.high < maxOf(test.width)) refuseAbove(Number(test.high));
    return;
  }
  if (test.low === test.high) {
    lines.push({ op: 'load', offset: high });
    need(JMP_JEQ_K, half(test.low, 'high'));
    lines.push({ op: 'load', offset: low });
    return need(JMP_JEQ_K, half(test.low, 'low'));
  }
  if (test.low > 0n) {
    const [equal, above, done] = [fresh(), fresh(), fresh()];
    lines.push({ op: 'load', offset: high });
    lines.push({ op: 'if', code: JMP_JGT_K, k: half(test.low, 'high'), yes: done, no: above });
    lines.push(
      { op: 'label', label: above },
      { op: 'if', code: JMP_JEQ_K, k: half(test.low, 'high'), yes: equal, no },
    );
    lines.push({ op: 'label', label: equal }, { op: 'load', offset: low });
    need(JMP_JGE_K, half(test.low, 'low'));
    lines.push({ op: 'label', label: done });
  }
  if (test.high < maxOf(64)) {
    const [equal, below, done] = [fresh(), fresh(), fresh()];
    lines.push({ op: 'load', offset: high });
    lines.push({ op: 'if', code: JMP_JGE_K, k: half(test.high, 'high'), yes: below, no: done });
    lines.push(
      { op: 'label', label: below },
      { op: 'if', code: JMP_JEQ_K, k: half(test.high, 'high'), yes: equal, no },
    );
    lines.push({ op: 'label', label: equal }, { op: 'load', offset: low });
    refuseAbove(half(test.high, 'low'));
    lines.push({ op: 'label', label: done });
  }
}

function tooLong(length: number): Error {
  return entitlementsError('ENTITLEMENTS_TOO_COMPLEX', {
    kind: 'exhausted',
    attempted: 'compile seccomp filter',
    on: '',
    why: `it needs ${length} instructions, and the kernel accepts ${MAX_INSTRUCTIONS}`,
    fix: 'use fewer or simpler argument conditions',
  });
}
