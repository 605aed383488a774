import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeJsonLogs } from './json.ts';
import type { ResourceRecords } from './log-record.ts';
import { decodeLogs, decodeLogsResponse, encodeLogs, encodeLogsResponse } from './protobuf.ts';

const value = fc.oneof(
  fc.string({ unit: 'grapheme' }),
  fc.boolean(),
  fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true }).filter((one) => !Number.isInteger(one)),
);
const attributes = fc
  .dictionary(fc.string(), value, { maxKeys: 8 })
  .map((one) => new Map(Object.entries(one)));
const plain = { noNullPrototype: true };
const record = fc.record(
  { event: fc.string(), time: fc.nat(2 ** 31), attributes, body: fc.string({ unit: 'grapheme' }) },
  plain,
);
const resource: fc.Arbitrary<ResourceRecords> = fc.record(
  { attributes, records: fc.array(record, { maxLength: 5 }) },
  plain,
);

const valueJson = (one: unknown): object =>
  typeof one === 'string'
    ? { stringValue: one }
    : typeof one === 'boolean'
      ? { boolValue: one }
      : Number.isSafeInteger(one)
        ? { intValue: String(one) }
        : { doubleValue: one };
const pairs = (map: ReadonlyMap<string, unknown>): object[] =>
  [...map].map(([key, one]) => ({ key, value: valueJson(one) }));

test('log records are the same after encoding and decoding as protobuf, and as JSON', () => {
  fc.assert(
    fc.property(resource, (one) => {
      assert.deepEqual(decodeLogs(encodeLogs(one)), [one]);
      const json = JSON.stringify({
        resourceLogs: [
          {
            resource: { attributes: pairs(one.attributes) },
            scopeLogs: [
              {
                logRecords: one.records.map(({ event, time, body, attributes: own }) => ({
                  timeUnixNano: String(BigInt(time) * 1_000_000n),
                  eventName: event,
                  body: { stringValue: body },
                  attributes: pairs(own),
                })),
              },
            ],
          },
        ],
      });
      assert.deepEqual(decodeJsonLogs(json), [one]);
    }),
  );
});

test('any bytes are either decoded or refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        decodeLogs(bytes);
      } catch (thrown) {
        assert.ok(thrown instanceof Error);
      }
    }),
    { numRuns: 2000 },
  );
});

test('groups, deeply nested values and too many records are refused without recursion', () => {
  assert.throws(() => decodeLogs(Buffer.alloc(1_000_000, 0x0b)), /group/);
  // A value of lists of lists is skipped as bytes.
  let nested: Uint8Array = Buffer.of();
  for (let depth = 0; depth < 2000; depth += 1)
    nested = Buffer.concat([Buffer.of(0x2a, ...varint(nested.length)), nested]);
  const body = Buffer.concat([Buffer.of(0x2a, ...varint(nested.length)), nested]);
  const wrap = (tag: number, bytes: Uint8Array): Buffer =>
    Buffer.concat([Buffer.of(tag, ...varint(bytes.length)), bytes]);
  const [decoded] = decodeLogs(wrap(0x0a, wrap(0x12, wrap(0x12, body))));
  assert.equal(decoded?.records[0]?.body, '');
  const many = { attributes: new Map(), records: Array.from({ length: 5000 }, () => empty) };
  assert.throws(() => decodeLogs(encodeLogs(many)), /more than 4096 log records/);
  assert.throws(() => decodeJsonLogs('[]'), /not an object/);
  assert.throws(() => decodeJsonLogs('{"resourceLogs":{}}'), /not a list/);
  assert.throws(() => decodeJsonLogs(`{"resourceLogs":${'['.repeat(500)}${']'.repeat(500)}}`), /nested/);
});

test('a request with millions of empty fields is refused before they are read', () => {
  const wrap = (tag: number, bytes: Uint8Array): Buffer =>
    Buffer.concat([Buffer.of(tag, ...varint(bytes.length)), bytes]);
  const many = (tag: number): Buffer => Buffer.alloc(2 ** 20, Buffer.of(tag, 0));
  for (const bytes of [many(0x18), wrap(0x0a, wrap(0x0a, many(0x0a))), wrap(0x0a, wrap(0x12, many(0x22)))])
    assert.throws(() => decodeLogs(bytes), /more than 262144 fields/);
  assert.throws(() => decodeJsonLogs(`{"x":[${'{},'.repeat(2 ** 18)}{}]}`), /more than 262144 fields/);
});

const empty = { event: '', time: 0, attributes: new Map(), body: '' };

function varint(length: number): number[] {
  const bytes: number[] = [];
  for (let rest = length; ; rest >>>= 7) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest & 127) | 128);
  }
}

test('a message that is cut off in a field, or has a text that is not UTF-8, is refused with a clear reason', () => {
  const wrap = (tag: number, bytes: Uint8Array): Buffer =>
    Buffer.concat([Buffer.of(tag, bytes.length), bytes]);
  const logs = (record: Uint8Array): Buffer => wrap(0x0a, wrap(0x12, wrap(0x12, record)));
  for (const record of [Buffer.of(0x09, 1, 2, 3), wrap(0x62, Buffer.of(0xff)), Buffer.of(0x2a, 9)])
    assert.throws(() => decodeLogs(logs(record)), /^Error: it is not a message: /);
  assert.throws(
    () => decodeLogsResponse(wrap(0x0a, wrap(0x12, Buffer.of(0xff)))),
    /^Error: it is not a message/,
  );
});

test('a partial success is the same after encoding and decoding', () => {
  for (const one of [
    { rejected: 0, message: '' },
    { rejected: 3, message: 'row 7 does not follow from row 6' },
  ])
    assert.deepEqual(decodeLogsResponse(encodeLogsResponse(one)), one);
});
