import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeBase64, parseStrictJson } from './strict-json.ts';

const parse = (text: string): unknown => parseStrictJson(Buffer.from(text));

test('reads everything that JSON.stringify writes, whatever the keys and strings contain', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
      assert.deepEqual(parse(JSON.stringify(value, null, 1)), JSON.parse(JSON.stringify(value)));
    }),
  );
});

const refused: readonly (readonly [text: string, says: RegExp])[] = [
  ['{"a":1,"a":2}', /"a" twice/],
  ['{"a":1,"\\u0061":2}', /"a" twice/],
  ['{"critical":{"image":{"d":1},"image":{"d":2}}}', /"image" twice/],
  ['[{"x":{}},{"x":1,"y":[{"z":1,"z":1}]}]', /"z" twice/],
  ['{"__proto__":1,"__proto__":2}', /twice/],
  ['['.repeat(40) + ']'.repeat(40), /deeper/],
  ['{"a":1', /not JSON/],
  ['{"a":1}x', /not JSON/],
  ['\uFEFF{}', /not JSON/],
  ['', /not JSON/],
];

for (const [text, says] of refused)
  test(`refuses ${text.slice(0, 50)}`, () => assert.throws(() => parse(text), says));

test('the same key in different objects is fine', () =>
  assert.deepEqual(parse('[{"a":1},{"a":{"a":2}}]'), [{ a: 1 }, { a: { a: 2 } }]));

test('refuses bytes that are not UTF-8', () =>
  assert.throws(() => parseStrictJson(Buffer.from([0x22, 0xff, 0x22])), /UTF-8/));

test('base64 has one form only', () => {
  assert.deepEqual(decodeBase64('AQI='), Buffer.from([1, 2]));
  for (const text of ['AQI', 'AQJ=', 'AQI=\n', ' AQI=', 'AQI==', 'AQ-_', undefined, 1])
    assert.equal(decodeBase64(text), undefined);
});
