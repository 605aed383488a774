import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { criCodec } from '../cri/contract/services.ts';
import type { StreamContainersResponse } from '../cri/contract/contract.types.ts';
import { inChunks } from './stream-list-handlers.ts';

const codec = criCodec<StreamContainersResponse>('StreamContainersResponse');
const encode = (items: readonly { id: string; labels?: Record<string, string> }[]): Uint8Array =>
  codec.encode({ containers: items });

async function chunksOf(
  items: readonly { id: string; labels?: Record<string, string> }[],
): Promise<{ ids: string[]; bytes: number }[]> {
  const chunks = [];
  for await (const bytes of inChunks(items, encode))
    chunks.push({ ids: codec.decode(bytes).containers.map(({ id }) => id), bytes: bytes.length });
  return chunks;
}

test('each item is in exactly one message, in order, and no message is empty', () =>
  fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: 400 }), async (count) => {
      const ids = Array.from({ length: count }, (_, index) => `c${index}`);
      const chunks = await chunksOf(ids.map((id) => ({ id })));
      assert.deepEqual(
        chunks.flatMap((chunk) => chunk.ids),
        ids,
      );
      assert.ok(chunks.every((chunk) => chunk.ids.length > 0));
    }),
    { numRuns: 20 },
  ));

test('an empty list has no message', async () => assert.deepEqual(await chunksOf([]), []));

test('a list that is too large for one message is sent in messages of at most 1 MiB', async () => {
  const labels = { note: 'x'.repeat(200_000) };
  const items = Array.from({ length: 150 }, (_, index) => ({ id: `c${index}`, labels }));
  const chunks = await chunksOf(items);
  assert.ok(chunks.every((chunk) => chunk.bytes <= 1024 * 1024));
  assert.equal(chunks.flatMap((chunk) => chunk.ids).length, 150);
});

test('a single item that is larger is sent in a separate message', async () => {
  const chunks = await chunksOf([
    { id: 'a' },
    { id: 'big', labels: { note: 'x'.repeat(3_000_000) } },
    { id: 'b' },
  ]);
  assert.deepEqual(
    chunks.map((chunk) => chunk.ids),
    [['a'], ['big'], ['b']],
  );
});
