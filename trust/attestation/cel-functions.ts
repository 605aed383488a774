import {
  celEnv,
  celError,
  celFunc,
  celMethod,
  CelScalar,
  celUint,
  isCelList,
  isCelMap,
  listType,
  objectType,
} from '@bufbuild/cel';
import type { CelEnv, CelValue } from '@bufbuild/cel';
import { create, fromJson } from '@bufbuild/protobuf';
import { TimestampSchema } from '@bufbuild/protobuf/wkt';
import { readRfc3339 } from '../json/rfc3339.ts';
import { spend } from './cel-budget.ts';
import { compilePattern, compileSteps, matchSteps } from './cel-regex.ts';
import { concatenated, isOpen, weightOf } from './cel-values.ts';

/**
 * `matches` with a pattern that was compiled together with the expression, so that only matching is charged.
 * The name is not valid in an expression.
 */
export const literalMatches = '@matches';

/** The function around the range of a comprehension. The name is not valid in an expression. */
export const rangeFunction = '@range';

const { BOOL, DOUBLE, DYN, INT, STRING } = CelScalar;
const list = listType(DYN);

const standard = celEnv({
  funcs: [
    celFunc('_+_', [list, list], list, (left, right) => {
      spend(right.size + (isOpen(left) ? 0 : left.size / 8));
      return concatenated(left, right);
    }),
    celMethod(literalMatches, STRING, [STRING], BOOL, function (pattern) {
      return matches(this, pattern);
    }),
    celMethod('matches', STRING, [STRING], BOOL, function (pattern) {
      spend(compileSteps(pattern));
      return matches(this, pattern);
    }),
    // The library accepts the numbers of JavaScript ("" is 0, "0x10" is 16), unlike CEL.
    celFunc('int', [STRING], INT, (text) => {
      if (!/^[+-]?\d{1,19}$/.test(text) || BigInt.asIntN(64, BigInt(text)) !== BigInt(text))
        throw new Error('int() of a string that is not an int');
      return BigInt(text);
    }),
    celFunc('double', [STRING], DOUBLE, (text) => {
      if (!/^[+-]?(\d{1,400}\.?\d{0,400}|\.\d{1,400})([eE][+-]?\d{1,4})?$/.test(text))
        throw new Error('double() of a string that is not a double');
      return Number(text);
    }),
    celFunc('uint', [STRING], CelScalar.UINT, (text) => {
      if (!/^\d{1,20}$/.test(text) || BigInt.asUintN(64, BigInt(text)) !== BigInt(text))
        throw new Error('uint() of a string that is not a uint');
      return celUint(BigInt(text));
    }),
    // Seconds, not milliseconds as in the library (cel-spec langdef.md, "timestamp").
    celFunc('timestamp', [INT], objectType(TimestampSchema), (seconds) =>
      create(TimestampSchema, { seconds }),
    ),
    // The library reads 31 February as 3 March.
    celFunc('timestamp', [STRING], objectType(TimestampSchema), (text) => {
      if (readRfc3339(text) === undefined) throw new Error('timestamp() of a string that is not a time');
      return fromJson(TimestampSchema, text);
    }),
    // All rounds of a comprehension are charged before the first round, including the parts that are not
    // calls.
    celFunc(rangeFunction, [DYN, INT], DYN, (range, parts) => {
      spend((1 + (isCelList(range) || isCelMap(range) ? range.size : 0)) * Number(parts));
      return range;
    }),
  ],
});

function matches(text: string, pattern: string): boolean {
  const compiled = compilePattern(pattern);
  spend(matchSteps(compiled, text));
  return compiled.pattern.test(text);
}

/** Functions that walk through their arguments. `matches` and `_+_` of lists charge for themselves. */
const deep: ReadonlySet<string> = new Set(['_==_', '_!=_', '@in']);

function pay(name: string, values: readonly CelValue[]): void {
  spend(1);
  if (name === rangeFunction || name === 'matches' || name === literalMatches) return;
  for (const value of values) {
    if (typeof value === 'string') spend(value.length / 16);
    else if (value instanceof Uint8Array) spend(value.length / 16);
    else if (deep.has(name) && (isCelList(value) || isCelMap(value))) spend(weightOf(value));
  }
}

/** The standard functions. Each call is charged by the size of its arguments. */
export const celFunctions: CelEnv = {
  namespace: standard.namespace,
  registry: standard.registry,
  variables: standard.variables,
  funcs: {
    find(name: string) {
      const group = standard.funcs.find(name);
      if (group === undefined) return undefined;
      return {
        name,
        call(id: number, target: CelValue | undefined, args: CelValue[]) {
          try {
            pay(name, target === undefined ? args : [target, ...args]);
          } catch (error) {
            return celError(error, id);
          }
          return group.call(id, target, args);
        },
      };
    },
  },
  // The planner asks an environment for these four members only. The library has no other way to count calls.
} as unknown as CelEnv;
