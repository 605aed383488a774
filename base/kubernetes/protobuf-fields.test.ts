import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readMessage } from './protobuf-fields.ts';
import type { MessageFields } from './protobuf-fields.ts';

/** Encodes by hand, so that a test can also write what no encoder writes. */
function varint(value: bigint): number[] {
  const bytes: number[] = [];
  let left = BigInt.asUintN(64, value);
  for (; left > 127n; left >>= 7n) bytes.push(Number(left & 127n) | 128);
  return [...bytes, Number(left)];
}
const number = (field: number, value: bigint): number[] => [...varint(BigInt(field) << 3n), ...varint(value)];
const nested = (field: number, value: readonly number[]): number[] => [
  ...varint((BigInt(field) << 3n) | 2n),
  ...varint(BigInt(value.length)),
  ...value,
];
const text = (field: number, value: string): number[] => nested(field, [...Buffer.from(value)]);

const fields: MessageFields = {
  1: ['name', 'text'],
  2: ['texts', 'texts'],
  3: ['count', 'number'],
  4: ['is', 'truth'],
  5: ['at', 'time'],
  6: ['port', 'port'],
  7: ['labels', { keys: (key) => key.startsWith('a') || key === '__proto__' }],
  8: ['one', { one: { 1: ['name', 'text'] } }],
  9: ['all', { all: { 1: ['name', 'text'] } }],
  40: ['late', 'text'],
};
const read = (...parts: readonly (readonly number[])[]): object =>
  readMessage(Buffer.from(parts.flat()), fields);

test('each type of a field is read as in JSON', () => {
  assert.deepEqual(
    read(
      text(1, 'é"'),
      text(2, 'x'),
      text(2, ''),
      number(3, -5n),
      number(4, 1n),
      nested(5, number(1, 1_767_225_600n)),
      nested(6, [...number(1, 0n), ...number(2, 8080n), ...text(3, '')]),
      nested(7, [...text(1, 'a'), ...text(2, '1')]),
      nested(7, [...text(1, 'b'), ...text(2, '2')]),
      nested(8, text(1, 'inner')),
      nested(9, text(1, 'first')),
      nested(9, []),
      text(40, 'end'),
    ),
    {
      ...{ name: 'é"', texts: ['x', ''], count: -5, is: true, at: '2026-01-01T00:00:00.000Z', port: 8080 },
      ...{ labels: { a: '1' }, one: { name: 'inner' }, all: [{ name: 'first' }, {}], late: 'end' },
    },
  );
  assert.deepEqual(read(nested(6, [...number(1, 1n), ...text(3, 'web')])), { port: 'web' });
  assert.deepEqual(read(nested(5, []), text(1, ''), number(4, 0n)), { is: false });
});

test('a field of another number or another wire type is skipped, and the last value counts', () => {
  const [eightBytes, fourBytes] = [
    [0x51, 1, 2, 3, 4, 5, 6, 7, 8],
    [0x55, 1, 2, 3, 4],
  ];
  assert.deepEqual(
    read(eightBytes, fourBytes, number(10, 7n), text(11, 'x'), number(1, 5n), text(3, 'x'), text(4, 'x')),
    {},
  );
  assert.deepEqual(read(text(1, 'first'), text(1, 'last')), { name: 'last' });
});

test('a key of a map cannot become the prototype', () => {
  const found = read(nested(7, [...text(1, '__proto__'), ...text(2, 'x')])) as { labels: object };
  assert.deepEqual(Object.getOwnPropertyNames(found.labels), ['__proto__']);
  assert.equal(Object.getPrototypeOf(found.labels), Object.prototype);
});

test('bytes that are not a message are refused', () => {
  for (const [bytes, why] of [
    [[0x0a, 5, 1], /ends after its message/u],
    [[0x42, 3, 0x0a, 5, 1], /ends after its message/u],
    [[0x0b], /wire type 3/u],
    [[0x0a], /no end/u],
    [[0x18, ...Array<number>(11).fill(0x80)], /64 bits/u],
    [[0x51, 1], /ends after its message/u],
  ] as const)
    assert.throws(() => read(bytes), why);
  const many = Buffer.from(Array.from({ length: 300_000 }, () => [0x4a, 0]).flat());
  assert.throws(() => readMessage(many, fields), /more than 262144 fields/u);
});

test('any bytes are read or refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      try {
        readMessage(Buffer.from(bytes), fields);
      } catch (thrown) {
        assert.ok(thrown instanceof RangeError);
      }
    }),
    { numRuns: 3000, seed: 5 },
  );
});
