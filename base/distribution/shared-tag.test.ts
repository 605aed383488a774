import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf } from './digest.ts';
import { addToSharedTag } from './shared-tag.ts';
import type { TagAccess } from './shared-tag.ts';
import type { FetchedManifest, SharedList } from './types.ts';

const list: SharedList = {
  mediaType: 'application/json',
  entry: 'ours',
  entriesOf: ({ bytes }) => JSON.parse(Buffer.from(bytes).toString('utf8')) as unknown[],
  keyOf: String,
  build: (entries) => Promise.resolve(Buffer.from(JSON.stringify(entries))),
};
const fetched = (bytes: Uint8Array): FetchedManifest => ({ bytes, digest: digestOf(bytes) }) as FetchedManifest;

test('an entry that was dropped and written again has to stand for the whole time again', async () => {
  const settle = 100;
  const first = Buffer.from('["first"]');
  let content: Uint8Array = first;
  const writes: number[] = [];
  let reads = 0;
  const access: TagAccess = {
    read: () => {
      // Another writer puts back what it read, once, while ours is being watched.
      if (++reads === 3) content = first;
      return Promise.resolve(fetched(content));
    },
    write: (bytes) => {
      content = bytes;
      writes.push(performance.now());
      return Promise.resolve(true);
    },
  };
  await addToSharedTag(access, list, settle, { attempted: 'add to the list', on: 'app:tag' });
  const stood = performance.now() - (writes[1] ?? Infinity);
  assert.equal(writes.length, 2);
  assert.ok(stood >= settle - 1, `it was believed to stand after ${stood} ms`);
});
