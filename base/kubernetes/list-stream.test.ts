import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { assertNearLinear } from '../../test/fixtures/cost.ts';
import { createListSplitter } from './list-stream.ts';

const most = 100_000;

function split(text: string, sizes: readonly number[]): { items: unknown[]; frame: unknown } {
  const bytes = Buffer.from(text);
  const splitter = createListSplitter(most);
  const items: unknown[] = [];
  let at = 0;
  for (let turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1;
    for (const item of splitter.take(bytes.subarray(at, at + size))) items.push(JSON.parse(item));
    at += size;
  }
  return { items, frame: JSON.parse(splitter.end()) };
}

test('any list, split anywhere, has the items that JSON.parse finds', () => {
  fc.assert(
    fc.property(
      fc.array(fc.dictionary(fc.string(), fc.jsonValue())),
      fc.dictionary(fc.constantFrom('kind', 'metadata', 'a"items":[', 'Items'), fc.jsonValue()),
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
      fc.constantFrom(0, 2),
      fc.boolean(),
      (items, frame, sizes, space, first) => {
        const list = first ? { items, ...frame } : { ...frame, items };
        const found = split(JSON.stringify(list, undefined, space), sizes);
        assert.deepEqual(found.items, JSON.parse(JSON.stringify(items)));
        assert.deepEqual(found.frame, JSON.parse(JSON.stringify({ ...list, items: [] })));
      },
    ),
    { numRuns: 500, seed: 3 },
  );
});

test('items inside other members are not items of the list', () => {
  const text = '{"metadata":{"items":[{"a":1}]},"items":[{"items":[{"b":[2,3]}]},{}],"x":[{"c":4}]}';
  assert.deepEqual(split(text, [3]), {
    items: [{ items: [{ b: [2, 3] }] }, {}],
    frame: { metadata: { items: [{ a: 1 }] }, items: [], x: [{ c: 4 }] },
  });
  assert.deepEqual(split('{"items":null}', [5]), { items: [], frame: { items: null } });
});

test('an incomplete answer or an item without an end is an error', () => {
  for (const text of ['', '{"items":[{"a":1}', '{"items":[{"a":1}]', '{"a":"'].slice(1)) {
    const splitter = createListSplitter(most);
    splitter.take(Buffer.from(text));
    assert.throws(() => splitter.end(), /ended in the middle/u, text);
  }
  const splitter = createListSplitter(1000);
  splitter.take(Buffer.from('{"items":[{"a":"'));
  const part = Buffer.alloc(600, 'x');
  splitter.take(part);
  assert.throws(() => splitter.take(part), /larger than 1000 bytes/u);
});

test('a text of escapes costs in proportion to its length, in one piece or in many', async () => {
  const hostile = (n: number): string =>
    `{"items":[{"a":"${'\\"'.repeat(n)}${'\\\\'.repeat(n)}${'\\\\\\"'.repeat(n)}"}]}`;
  for (const size of [Infinity, 100])
    await assertNearLinear(
      `pieces of ${size}`,
      (n) => assert.equal(split(hostile(n), [size]).items.length, 1),
      { n: 2000 },
    );
});
