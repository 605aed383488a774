import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCelError, parse, plan } from '@bufbuild/cel';
import { tests } from '@bufbuild/cel-spec/testdata/conformance.js';
import { spendingFrom } from './cel-budget.ts';
import { celFunctions } from './cel-functions.ts';

interface Case {
  readonly original: {
    readonly name: string;
    readonly expr?: string;
    readonly value?: {
      readonly boolValue?: boolean;
      readonly stringValue?: string;
      readonly int64Value?: string;
    };
    readonly evalError?: unknown;
  } & Readonly<Record<string, unknown>>;
}
interface Suite {
  readonly name: string;
  readonly tests?: readonly Case[];
  readonly suites?: readonly Suite[];
}

/** The parts of the language that we support. Extensions and messages are not supported. */
const parts = [
  'basic',
  'comparisons',
  'conversions',
  'fields',
  'fp_math',
  'integer_math',
  'lists',
  'logic',
  'macros',
  'parse',
  'plumbing',
  'string',
  'timestamps',
];

/**
 * Where the library differs: field names in backquotes, and keys that are equal across int and uint. Also
 * tests that need messages which are not available here.
 */
const known = [
  'fields/quoted_map_fields',
  'map_value_repeat_key_heterogeneous',
  'parse/whitespace',
  'parse/comments/new_line_terminated',
];

function failures(suite: Suite, path: string): readonly string[] {
  const own = (suite.tests ?? [])
    .filter(isPlain)
    .flatMap(({ original }) => (holds(original) ? [] : [`${path}/${original.name}`]));
  return [...own, ...(suite.suites ?? []).flatMap((inner) => failures(inner, `${path}/${inner.name}`))];
}

/** Whether a case has no variables, no types of its own and no namespaces. */
function isPlain({ original }: Case): boolean {
  return ['typeEnv', 'bindings', 'container', 'checkOnly', 'disableMacros'].every(
    (field) => original[field] === undefined,
  );
}

function holds({ expr = '', value, evalError }: Case['original']): boolean {
  const answer = ask(expr);
  if (evalError !== undefined || answer === undefined)
    return (evalError !== undefined) === (answer === undefined);
  const { boolValue, stringValue, int64Value } = value ?? {};
  const expected = boolValue ?? stringValue ?? (int64Value === undefined ? undefined : BigInt(int64Value));
  return expected === undefined || expected === answer;
}

function ask(text: string): unknown {
  try {
    const answer = spendingFrom({ left: 1e9 }, () => plan(celFunctions, parse(text))({}));
    return isCelError(answer) ? undefined : answer;
  } catch {
    return undefined;
  }
}

test('the conformance tests of cel-spec, over our functions', () => {
  const { suites = [] } = tests as unknown as Suite;
  const wrong = suites
    .filter(({ name }) => parts.includes(name))
    .flatMap((suite) => failures(suite, suite.name));
  assert.deepEqual(
    wrong.filter((path) => !known.some((part) => path.includes(part))),
    [],
  );
  assert.ok(wrong.length <= 13);
});
