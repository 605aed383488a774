import type { PathSegment } from '../../base/schema/index.ts';
import { closest } from '../../base/lists/index.ts';
import { argumentTest, maxOf } from '../seccomp/argument-test.ts';
import type { ArgumentTest, Width } from '../seccomp/argument-test.ts';
import { callSet, wholeCalls } from '../seccomp/call-set.ts';
import type { CallSet } from '../seccomp/call-set.ts';
import { intersectClauses, subtract } from '../seccomp/clause.ts';
import type { Clause } from '../seccomp/clause.ts';
import { constantsOf, constantValue } from '../seccomp/constants.ts';
import { allSyscallNames, argumentKinds, isSyscallName } from '../seccomp/syscalls.ts';
import type { Report } from './report.ts';

type Path = readonly PathSegment[];

/**
 * Reads the calls of a list under `syscalls`: names, and names with conditions on arguments. Numbers are
 * compared in the bits that the kernel reads. A condition on a pointer is refused, because a filter sees the
 * address and not the memory at it.
 * @returns one set per item, so that a reader can see the effect of each item; an item with a problem has
 * none
 */
export function readCalls(items: readonly unknown[], path: Path, report: Report): (CallSet | undefined)[] {
  return items.map((item, at) => {
    const here = [...path, at];
    if (typeof item === 'string') return readName(item, path.at(-1) === 'drop', here, report);
    const [name = '', conditions] = Object.entries(item as object)[0] ?? [];
    if (!known(name, [...here, name], report, 'key')) return undefined;
    const alternatives: readonly unknown[] = Array.isArray(conditions) ? conditions : [conditions];
    const clauses = alternatives.map((one, index) => {
      const inside = Array.isArray(conditions) ? [...here, name, index] : [...here, name];
      return readConditions(name, one as Readonly<Record<string, unknown>>, inside, report);
    });
    if (clauses.some((one) => one === undefined)) return undefined;
    return callSet(clauses.flatMap((one) => (one ?? []).map((when) => [name, when] as const)));
  });
}

/** All calls of the tables, created once. */
let every: CallSet | undefined;

function readName(name: string, mayBeAll: boolean, path: Path, report: Report): CallSet | undefined {
  if (name === 'ALL') {
    if (mayBeAll) return (every ??= wholeCalls(allSyscallNames()));
    report(path, 'ALL can only be dropped', 'name each system call that is needed');
    return undefined;
  }
  return known(name, path, report) ? wholeCalls([name]) : undefined;
}

function known(name: string, path: Path, report: Report, part: 'value' | 'key' = 'value'): boolean {
  if (isSyscallName(name)) return true;
  const near = closest(name, allSyscallNames());
  const shown = name.slice(0, 80);
  report(
    path,
    `there is no system call \`${shown}\` on x86_64 or aarch64`,
    near === undefined ? 'see syscalls(2)' : `did you mean \`${near}\`?`,
    part,
  );
  return false;
}

function readConditions(
  call: string,
  written: Readonly<Record<string, unknown>>,
  path: Path,
  report: Report,
): Clause[] | undefined {
  let clauses: Clause[] | undefined = [[]];
  for (const [name, spec] of Object.entries(written)) {
    const index = Number(name.slice(3));
    const width = widthOf(call, index, [...path, name], report);
    const tests =
      width === undefined ? undefined : readSpec({ call, index, width, report }, spec, [...path, name]);
    clauses = clauses === undefined || tests === undefined ? undefined : crossed(clauses, tests);
  }
  return clauses;
}

function crossed(clauses: readonly Clause[], others: readonly Clause[]): Clause[] {
  const met: Clause[] = [];
  for (const one of clauses) {
    for (const other of others) {
      const when = intersectClauses(one, other);
      if (when !== undefined) met.push(when);
    }
  }
  return met;
}

function widthOf(call: string, index: number, path: Path, report: Report): Width | undefined {
  const kinds = argumentKinds(call);
  const kind = kinds?.[index];
  if (kinds === undefined) {
    report(
      path,
      `current kernels have no ${call}, and its arguments are not known`,
      'name the call without conditions',
      'key',
    );
  } else if (kind === undefined) {
    const count =
      kinds.length === 0
        ? 'no arguments'
        : kinds.length === 1
          ? 'one argument, arg0'
          : `${kinds.length} arguments, arg0 to arg${kinds.length - 1}`;
    report(path, `${call} has ${count}`, 'remove the condition', 'key');
  } else if (kind === 'pointer') {
    report(
      path,
      `arg${index} of ${call} is a pointer: a filter sees the address, not the memory there`,
      'remove the condition',
      'key',
    );
  }
  return kind === 'pointer' ? undefined : kind;
}

interface Place {
  readonly call: string;
  readonly index: number;
  readonly width: Width;
  readonly report: Report;
}

/** Returns the condition as alternatives of one test each. */
function readSpec(place: Place, spec: unknown, path: Path): Clause[] | undefined {
  if (typeof spec === 'object' && spec !== null && 'not' in spec) {
    const none = readList(place, spec.not as readonly unknown[], [...path, 'not']);
    if (none === undefined) return undefined;
    const left = subtract([[]], none);
    if (left.length > 0) return left;
    place.report([...path, 'not'], 'no value matches', 'leave one out');
    return undefined;
  }
  return Array.isArray(spec) ? readList(place, spec, path) : readList(place, [spec], path, true);
}

function readList(place: Place, items: readonly unknown[], path: Path, single = false): Clause[] | undefined {
  const tests = items.map((item, at) => readItem(place, item, single ? path : [...path, at]));
  return tests.some((test) => test === undefined)
    ? undefined
    : tests.flatMap((test) => (test === undefined ? [] : [[test]]));
}

function readItem(place: Place, item: unknown, path: Path): ArgumentTest | undefined {
  const { index, width, report } = place;
  if (typeof item === 'object' && item !== null) {
    const { mask, value } = item as { readonly mask: unknown; readonly value: unknown };
    const [bits, wanted] = [
      readNumber(place, mask, [...path, 'mask']),
      readNumber(place, value, [...path, 'value']),
    ];
    if (bits === undefined || wanted === undefined) return undefined;
    if ((wanted & ~bits) === 0n) return argumentTest(index, width, { mask: bits, value: wanted });
    report(
      [...path, 'value'],
      'the value has bits outside the mask: nothing would match',
      'widen the mask, or remove the bits',
    );
    return undefined;
  }
  const range = typeof item === 'string' ? /^(.+?)\.\.(.+)$/.exec(item) : null;
  if (range === null) {
    const value = readNumber(place, item, path);
    return value === undefined ? undefined : argumentTest(index, width, { low: value, high: value });
  }
  const [low, high] = [readNumber(place, range[1], path), readNumber(place, range[2], path)];
  if (low === undefined || high === undefined) return undefined;
  if (low <= high) return argumentTest(index, width, { low, high });
  report(
    path,
    'the range is empty; negative numbers are above positive ones, as the filter compares them',
    'write the lower end first',
  );
  return undefined;
}

/** Reads a number or a name, in the bits that the kernel reads. */
function readNumber({ call, index, width, report }: Place, written: unknown, path: Path): bigint | undefined {
  const text = String(written).trim();
  if (!/^(-?\d{1,20}|0x[0-9a-fA-F]{1,16})$/.test(text)) {
    const value = constantValue(call, index, text);
    if (value !== undefined) return value & maxOf(width);
    const near = closest(text, [...constantsOf(call, index).keys()]);
    const fix =
      near === undefined ? 'write a number, or a name of the kernel’s headers' : `did you mean \`${near}\`?`;
    report(path, `arg${index} of ${call} has no value called \`${text.slice(0, 80)}\``, fix);
    return undefined;
  }
  const value = text.startsWith('-') ? -BigInt(text.slice(1)) : BigInt(text);
  if (value > maxOf(width) || value < -(1n << BigInt(width - 1))) {
    const message = `the kernel reads ${width} bits of arg${index} of ${call}: ${shownNumber(value)} has more, and would be treated like ${BigInt.asUintN(width, value)}`;
    report(path, message, `write a number of ${width} bits`);
    return undefined;
  }
  return BigInt.asUintN(width, value);
}

function shownNumber(value: bigint): string {
  return value < 0n ? value.toString() : `0x${value.toString(16)}`;
}
