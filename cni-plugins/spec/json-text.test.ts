import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { assertNearLinear } from '../../test/fixtures/cost.ts';
import { readJson } from './json-text.ts';

test('any JSON is read as by V8, with its positions', () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 8 }), (text) => {
      const read = readJson(text);
      assert.ok(!('message' in read));
      assert.deepEqual(read.value, JSON.parse(text));
      assert.deepEqual(read.positionOf([]), { line: 1, column: 1 });
    }),
  );
});

const letters = Array.from('{}[],:"\\ \n019-.eEtruefalsn\u0000');

test('any text that is not JSON is refused with its position', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...letters) }), (text) => {
      const read = readJson(text);
      let isJson = true;
      try {
        JSON.parse(text);
      } catch {
        isJson = false;
      }
      assert.equal('message' in read, !isJson);
    }),
  );
});

for (const [what, text, path, place] of [
  ['a name that occurs twice has its last value', '{"a": 1,\n "a": 2}', ['a'], { line: 2, column: 7 }],
  ['a value of a list', '{"a": [\n1,\n {"b": 3}]}', ['a', 1, 'b'], { line: 3, column: 8 }],
  ['the value around a missing value', '{"a":\n [1]}', ['a', 7, 'b'], { line: 2, column: 2 }],
] as const)
  test(`the position of ${what}`, () => {
    const read = readJson(text);
    assert.ok(!('message' in read));
    assert.deepEqual(read.positionOf(path), place);
  });

test('64 levels are read, one more is refused, and so are a hundred thousand', () => {
  const nested = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels);
  assert.ok(!('message' in readJson(nested(65))));
  for (const levels of [66, 100_000]) {
    const read = readJson(nested(levels));
    assert.ok('message' in read);
    assert.match(read.message, /nested deeper than 64/u);
  }
});

test('a name that JavaScript uses is treated like other names', () => {
  const read = readJson('{"__proto__": {"polluted": true}}');
  assert.ok(!('message' in read));
  assert.deepEqual(Object.keys(read.value as object), ['__proto__']);
  assert.equal((read.value as { polluted?: boolean }).polluted, undefined);
});

test('the positions of twice as many values cost about twice as much', async () => {
  const made = new Map<number, string>();
  const read = (n: number): void => {
    const text =
      made.get(n) ??
      JSON.stringify(
        Array.from({ length: n }, (_, index) => ({ [`a${index}`]: '\ud800' })),
        undefined,
        1,
      );
    made.set(n, text);
    const json = readJson(text);
    assert.ok('positionOf' in json);
    for (let index = 0; index < n; index += 1) json.positionOf([index, `a${index}`]);
  };
  await assertNearLinear('places', read, { n: 500 });
});
