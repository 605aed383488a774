import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { assertNearLinear } from '../../test/fixtures/cost.ts';
import { maxJsonDepth, parseCutJson, parseJson } from './index.ts';

const nested = (levels: number, inner = '1'): string =>
  `${'{"a":['.repeat(levels / 2)}${inner}${']}'.repeat(levels / 2)}`;

test('a text that is not too deep is read as parseJson reads it', () => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      assert.deepEqual(parseCutJson(text), parseJson(text));
    }),
  );
  assert.deepEqual(parseCutJson(nested(maxJsonDepth)), parseJson(nested(maxJsonDepth)));
});

test('a part that is too deep is null, and the other parts are as they are written', () => {
  const limit = nested(maxJsonDepth - 2, '{"too":["deep","]}"]},null,[]');
  const text = `{"first":"\\"[{","deep":[${limit},2,${nested(4000)}],"last":{"b":[]}}`;
  const { first, deep, last } = parseCutJson(text) as Record<'deep' | 'first' | 'last', unknown>;
  assert.deepEqual([first, last], ['"[{', { b: [] }]);
  assert.deepEqual((deep as unknown[])[0], parseJson(nested(maxJsonDepth - 2, 'null,null,null')));
  assert.equal((deep as unknown[])[1], 2);
});

test('a text that is not JSON is refused, however deep it is', () => {
  for (const text of ['{', '', '['.repeat(5000), `${nested(400)}]`, `[${nested(400)},]`, `[${nested(400)}`])
    assert.throws(() => parseCutJson(text), SyntaxError, text.slice(0, 20));
});

test('a deep text costs in proportion to its length', async () => {
  await assertNearLinear(
    'levels',
    (n) => assert.ok(parseCutJson(`[${nested(2 * n, '"\\\\\\""')},${nested(2 * n)}]`)),
    { n: 2000 },
  );
});
