import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { protobufList, protobufStatus } from '../../test/fixtures/kubernetes/protobuf-list.ts';
import { assertNearLinear } from '../../test/fixtures/cost.ts';
import { readMessage } from './protobuf-fields.ts';
import type { MessageFields } from './protobuf-fields.ts';
import { createProtobufListSplitter, statusMessageOf } from './protobuf-list.ts';

const named: MessageFields = { 1: ['metadata', { one: { 1: ['name', 'text'] } }] };
const service = (name: string) => ({ metadata: { name, managedFields: [{ manager: name }] } });
const most = 100_000;

function split(bytes: Buffer, sizes: readonly number[]): { names: unknown[]; head: unknown } {
  const splitter = createProtobufListSplitter(most);
  const names: unknown[] = [];
  let at = 0;
  for (let turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1;
    for (const item of splitter.take(bytes.subarray(at, at + size)))
      names.push((readMessage(item, named)['metadata'] as { name?: unknown } | undefined)?.name);
    at += size;
  }
  return { names, head: splitter.end() };
}

test('any list, split anywhere, has its items, its version and the token of the next page', () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ minLength: 1, maxLength: 300 })),
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
      fc.constantFrom('', 'next'),
      (names, sizes, next) => {
        const found = split(protobufList('Service', '77', names.map(service), next), sizes);
        assert.deepEqual(found.names, names);
        const metadata = { resourceVersion: '77', ...(next !== '' && { continue: next }) };
        assert.deepEqual(found.head, { metadata });
      },
    ),
    { numRuns: 300, seed: 3 },
  );
});

test('an answer that is incomplete, not a list or too large is an error', () => {
  const whole = protobufList('Service', '7', [service('a'), service('b')]);
  for (let length = 0; length < whole.length; length += 1)
    assert.throws(() => split(whole.subarray(0, length), [Infinity]), /middle of the list/u, `${length}`);
  assert.throws(() => split(Buffer.from('{"items":[]}'), [Infinity]), /not a protobuf message/u);
  const magic = Buffer.from('k8s\0', 'latin1');
  // An item that ends after its list, a list in a list's place, an encoding, a field without a length.
  for (const [bytes, why] of [
    [[0x12, 2, 0x12, 5, 1, 2, 3, 4, 5], /ends after its list/u],
    [[0x12, 2, 0x12, 0, 0x12, 2, 0x12, 0], /more than one list/u],
    [[0x12, 2, 0x12, 0, 0x1a, 1, 0x67], /encoding/u],
    [[0x12, 2, 0x08, 0], /unknown type/u],
    [[0x12, ...Array<number>(11).fill(0xff)], /more than 64 bits/u],
  ] as const)
    assert.throws(() => split(Buffer.concat([magic, Buffer.from(bytes)]), [Infinity]), why);
  const splitter = createProtobufListSplitter(1000);
  const large = protobufList('Service', '7', [service('x'.repeat(2000))]);
  assert.throws(() => splitter.take(large.subarray(0, 100)), /larger than 1000 bytes/u);
});

test('the message of a status is read', () => {
  assert.equal(statusMessageOf(protobufStatus(403, 'services is forbidden')), 'services is forbidden');
  assert.equal(statusMessageOf(protobufStatus(500, '')), undefined);
});

test('an item in many pieces costs in proportion to its length', async () => {
  const list = (n: number): Buffer => protobufList('Service', '7', [service('x'.repeat(100 * n))]);
  const lists = new Map([100, 200, 400].map((n) => [n, list(n)]));
  await assertNearLinear(
    'pieces of 100 bytes',
    (n) => {
      const splitter = createProtobufListSplitter(1e9);
      const bytes = lists.get(n) ?? list(n);
      for (let at = 0; at < bytes.length; at += 100) splitter.take(bytes.subarray(at, at + 100));
    },
    { n: 100 },
  );
});
