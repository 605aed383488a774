import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fuzzing } from '../evidence/fixtures/fuzzing.ts';
import { celBudget } from './cel-budget.ts';
import { compileCel } from './cel.ts';
import type { CompiledCel } from './cel.ts';
import { celOfJson } from './cel-values.ts';
import { celLanguage } from './cel-language.ts';

const now = new Date('2026-11-20T12:00:00Z');

function compiled(text: string): CompiledCel {
  const result = compileCel(text);
  assert.ok(!('problems' in result), 'problems' in result ? JSON.stringify(result.problems) : '');
  return result;
}

function ask(text: string, predicate: unknown = {}): boolean | { readonly problem: string } {
  const variables = {
    predicate: celOfJson(predicate),
    predicateType: 'https://example.com/t',
    subject: celOfJson([]),
    statement: celOfJson({}),
    image: celOfJson({ registry: 'a.example', tag: '1' }),
    signer: 'key sha256:1',
    now: celLanguage.timestamp(now),
  };
  return compiled(text).evaluate(variables, celBudget());
}

const numbers = Array.from({ length: 3000 }, (_, index) => index);

/** Results required by the language (cel-spec langdef.md), and by our changes to the library. */
const answers: readonly (readonly [string, unknown, boolean | RegExp])[] = [
  ['predicate.a == 1 && predicate.b == 1.5', { a: 1, b: 1.5 }, true],
  ['predicate.a + 1 == 2', { a: 1 }, true],
  ['predicate.score >= 7.0', { score: 7 }, true],
  ['type(predicate.a) == int && type(predicate.b) == double', { a: 1, b: 1.5 }, true],
  ['has(predicate.a) && "a" in predicate', { a: null }, true],
  ['has(predicate.b) || "b" in predicate', { a: null }, false],
  ['predicate.b == 1', { a: 1 }, /field not found: b/],
  ['predicate.b == 1 || true', {}, true],
  ['predicate.toString == 1', {}, /field not found/],
  ['has(predicate.constructor)', {}, false],
  ['predicate.constructor == 1', JSON.parse('{"constructor":1}'), true],
  ['predicate["__proto__"] == 2', JSON.parse('{"__proto__":2}'), true],
  ['predicate.l.filter(x, x >= 2990).map(x, x - 2990) == [0,1,2,3,4,5,6,7,8,9]', { l: numbers }, true],
  ['predicate.l.map(x, x)[2999] == 2999', { l: numbers }, true],
  ['[predicate.l + [1], predicate.l + [2]] == [[0, 1], [0, 2]]', { l: [0] }, true],
  [
    '[predicate.l + [1]].all(x, x + [2] == [0, 1, 2] && x + [3] == [0, 1, 3] && x == [0, 1])',
    { l: [0] },
    true,
  ],
  ['predicate.l.exists_one(x, x == 7)', { l: numbers }, true],
  ['predicate.s.matches("^refs/tags/v[0-9]+$")', { s: 'refs/tags/v1' }, true],
  ['predicate.s.matches(predicate.p)', { s: 'a', p: '(' }, /error parsing regexp/],
  ['now - timestamp(predicate.t) < duration("24h")', { t: '2026-11-20T10:00:00Z' }, true],
  ['now - timestamp(predicate.t) < duration("1h")', { t: '2026-11-20T10:00:00Z' }, false],
  ['timestamp(predicate.t) < now', { t: 'yesterday' }, /timestamp/],
  ['timestamp(predicate.t) < now', { t: '2024-02-30T00:00:00Z' }, /timestamp/],
  ['timestamp(predicate.t) < now', { t: '2024-02-01T24:00:00Z' }, /timestamp/],
  ['timestamp("2024-02-01T00:00:00.000000001Z") > timestamp("2024-02-01T00:00:00Z")', {}, true],
  ['timestamp(60) == timestamp("1970-01-01T00:01:00Z")', {}, true],
  ['int("") == 0', {}, /not an int/],
  ['int("0x10") == 16', {}, /not an int/],
  ['uint("") == 0u', {}, /not a uint/],
  ['double("") == 0.0', {}, /not a double/],
  ['int("-3") == -3 && double("7.5") == 7.5 && uint("3") == 3u', {}, true],
  ['image.registry == "a.example" && signer.startsWith("key ") && predicateType != ""', {}, true],
  ['predicate', {}, /neither true nor false/],
  ['"true"', {}, /neither true nor false/],
];

for (const [text, predicate, expected] of answers) {
  test(`${text} over ${JSON.stringify(predicate).slice(0, 60)}`, () => {
    const answer = ask(text, predicate);
    if (typeof expected === 'boolean') assert.equal(answer, expected);
    else assert.match(typeof answer === 'boolean' ? String(answer) : answer.problem, expected);
  });
}

/** The mistakes of each text, with line and column. */
const mistakes: readonly (readonly [string, readonly [number, number, RegExp][]])[] = [
  ['', [[1, 1, /end of input/]]],
  ['predicate.a == ', [[1, 13, /found =/]]],
  [
    'predicte.a == 1 && nope(2)',
    [
      [1, 1, /no variable `predicte`; the variables are predicate,/],
      [1, 24, /no function `nope`/],
    ],
  ],
  ['predicate.a\n  && predicate.b.foo()', [[2, 17, /no function `foo`/]]],
  ['[1].all(x, x > 0) && x == 1', [[1, 22, /no variable `x`/]]],
  ['predicate.a.matches("(")', [[1, 20, /not valid in RE2/]]],
  ['google.protobuf.Timestamp{} == now', [[1, 1, /messages such as/]]],
  [
    'math.greatest(1, 2) == 2',
    [
      [1, 14, /no function/],
      [1, 1, /no variable `math`/],
    ],
  ],
  [`${'('.repeat(33)}1${')'.repeat(33)} == 1`, [[1, 1, /deeper than 32/]]],
  [`predicate.a == "${'a'.repeat(4096)}"`, [[1, 1, /longer than 4096/]]],
];

for (const [text, expected] of mistakes) {
  test(`is not an expression: ${text.slice(0, 60)}`, () => {
    const result = compileCel(text);
    assert.ok('problems' in result);
    assert.equal(result.problems.length, expected.length, JSON.stringify(result.problems));
    for (const [index, [line, , message]] of expected.entries()) {
      assert.equal(result.problems[index]?.line, line);
      assert.match(result.problems[index]?.message ?? '', message);
    }
  });
}

/** Expressions that would take seconds, or gigabytes. */
const expensive: readonly (readonly [string, unknown])[] = [
  ['predicate.l.all(x, predicate.l.all(y, x + y >= 0))', { l: numbers }],
  ['predicate.l.all(x, predicate.l.all(y, predicate.l.exists(z, y == z)))', { l: numbers }],
  ['predicate.l.all(x, predicate.l == predicate.m)', { l: numbers, m: [...numbers] }],
  ['predicate.l.all(x, x in predicate.m)', { l: numbers, m: numbers.toReversed() }],
  [`["a"]${'.map(x, x + x)'.repeat(250)}.size() == 1`, {}],
  [`[[1]]${'.map(x, x + x)'.repeat(250)}.size() == 1`, {}],
  ['predicate.s.matches("(a?){900}a{900}")', { s: 'a'.repeat(100_000) }],
  ['predicate.s.matches("(x+x+)+y|(a|aa)+$")', { s: 'a'.repeat(1_000_000) }],
  ['predicate.s.matches(predicate.p)', { s: 'a', p: `${'(?:'.repeat(20_000)}a${')'.repeat(20_000)}` }],
  [
    'predicate.l.all(x, predicate.s.contains("b" + string(x)) || true)',
    { l: numbers, s: 'a'.repeat(100_000) },
  ],
];

for (const [text, predicate] of expensive) {
  test(`costs too much: ${text.slice(0, 70)}`, () => {
    const before = process.cpuUsage().user;
    const answer = ask(text, predicate);
    assert.match(
      typeof answer === 'boolean' ? String(answer) : answer.problem,
      /needs more than the 1,000,000 steps/,
    );
    // Generous: a step takes a fraction of a microsecond, and the test excludes seconds.
    assert.ok(process.cpuUsage().user - before < 1_500_000);
  });
}

test('evaluations can share one budget', () => {
  const budget = celBudget();
  const expression = compiled('predicate.l.all(x, x >= 0)');
  const variables = { predicate: celOfJson({ l: numbers }) };
  const answers = Array.from({ length: 60 }, () => expression.evaluate(variables, budget));
  assert.equal(answers[0], true);
  assert.notEqual(answers.at(-1), true);
});

test('for any expression, compilation and evaluation end soon and throw nothing', () => {
  const atoms = [
    'predicate',
    'predicate.a',
    'predicate.l',
    '1',
    '-1',
    '"a"',
    'true',
    'now',
    '[1,2]',
    '{"a":1}',
    'null',
    'x',
    '1.5',
    '2u',
    'b"x"',
  ];
  const atom = fc.constantFrom(...atoms);
  const { expression } = fc.letrec<{ expression: string }>((tie) => ({
    expression: fc.oneof(
      { maxDepth: 5, withCrossShrink: true },
      atom,
      fc
        .tuple(
          tie('expression'),
          fc.constantFrom('+', '-', '*', '/', '%', '==', '<', '&&', '||', 'in'),
          tie('expression'),
        )
        .map(([a, o, b]) => `(${a} ${o} ${b})`),
      fc
        .tuple(
          tie('expression'),
          fc.constantFrom('all', 'exists', 'map', 'filter', 'exists_one'),
          tie('expression'),
        )
        .map(([a, m, b]) => `${a}.${m}(x, ${b})`),
      fc
        .tuple(
          fc.constantFrom(
            'size',
            'int',
            'string',
            'timestamp',
            'duration',
            'type',
            'double',
            'bytes',
            '!',
            '-',
          ),
          tie('expression'),
        )
        .map(([f, a]) => `${f}(${a})`),
      fc
        .tuple(tie('expression'), fc.constantFrom('matches', 'contains', 'startsWith'), tie('expression'))
        .map(([a, f, b]) => `${a}.${f}(${b})`),
      fc.tuple(tie('expression'), tie('expression')).map(([a, b]) => `${a}[${b}]`),
      fc
        .tuple(tie('expression'), tie('expression'), tie('expression'))
        .map(([a, b, c]) => `(${a} ? ${b} : ${c})`),
    ),
  }));
  const variables = {
    predicate: celOfJson({ a: 1, l: numbers.slice(0, 50), s: 'text' }),
    now: celLanguage.timestamp(now),
  };
  const property = fc.property(
    fc.oneof(expression, fc.string({ maxLength: 200 }), fc.string({ unit: 'binary', maxLength: 60 })),
    (text) => {
      const result = compileCel(text);
      if ('problems' in result)
        return result.problems.every(
          ({ line, column, message }) => line >= 1 && column >= 1 && message !== '',
        );
      const answer = result.evaluate(variables, celBudget());
      return typeof answer === 'boolean' || answer.problem !== '';
    },
  );
  fc.assert(property, fuzzing(20261120, 1500));
});
