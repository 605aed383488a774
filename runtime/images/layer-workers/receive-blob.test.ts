import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterEach, beforeEach, test } from 'node:test';
import fc from 'fast-check';
import type { BlobContent } from '../../../base/distribution/index.ts';
import { download } from './download.ts';
import { receiveBlob } from './receive-blob.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(`${tmpdir()}/portcullis-receive-`);
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

/** Passes the pieces on in one memory, which has other bytes as soon as a piece was taken. */
function inPlace(pieces: readonly Uint8Array[], failure?: Error): BlobContent {
  return {
    async *[Symbol.asyncIterator]() {
      for (const piece of pieces) yield await Promise.resolve(piece);
    },
    async each(take) {
      const memory = Buffer.alloc(512 * 1024);
      for (const piece of pieces) {
        await Promise.resolve();
        memory.set(piece);
        take(memory.subarray(0, piece.length));
        memory.fill(0xee);
      }
      if (failure !== undefined) throw failure;
    },
  };
}

function receive(content: BlobContent, path: string): Promise<void> {
  const descriptor = { digest: `sha256:${'0'.repeat(64)}`, size: 1 };
  const repository: Parameters<typeof receiveBlob>[0] = {
    async blob(_descriptor, _signal, begun) {
      for await (const chunk of begun ?? []) assert.ok(chunk.length > 0);
      return content;
    },
  };
  return receiveBlob(repository, descriptor, path, new AbortController().signal);
}

test('pieces of any size become a file of mode 0600', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof(fc.integer({ min: 1, max: 3000 }), fc.integer({ min: 60_000, max: 520_000 })), {
        maxLength: 30,
      }),
      async (sizes) => {
        const pieces = sizes.map((size, index) => Buffer.alloc(size, index + 1));
        const path = `${folder}/blob`;
        rmSync(path, { force: true });
        await receive(inPlace(pieces), path);
        assert.ok(readFileSync(path).equals(Buffer.concat(pieces)));
        assert.equal(statSync(path).mode & 0o7777, 0o600);
      },
    ),
    { numRuns: 25 },
  );
});

test('content without `each` is iterated over', async () => {
  const pieces = [Buffer.alloc(10, 1), Buffer.alloc(100_000, 2)];
  const { each: _each, ...content } = inPlace(pieces);
  await receive(content, `${folder}/blob`);
  assert.ok(readFileSync(`${folder}/blob`).equals(Buffer.concat(pieces)));
});

test('what an earlier fetch left is kept, and the rest is appended', async () => {
  writeFileSync(`${folder}/blob`, 'first ');
  await receive(inPlace([Buffer.from('second')]), `${folder}/blob`);
  assert.equal(readFileSync(`${folder}/blob`, 'utf8'), 'first second');
});

test('after a failure, the file holds what arrived', async () => {
  const lost = new Error('connection lost');
  const pieces = [Buffer.from('a'), Buffer.alloc(100_000, 98), Buffer.from('c')];
  await assert.rejects(receive(inPlace(pieces, lost), `${folder}/blob`), (error) => error === lost);
  assert.ok(readFileSync(`${folder}/blob`).equals(Buffer.concat(pieces)));
});

test('a full disk fails with the reason from the system, for large and for small pieces', async () => {
  for (const bytes of [10, 100_000])
    await assert.rejects(receive(inPlace([Buffer.alloc(bytes)]), '/dev/full'), { code: 'ENOSPC' });
});

test('nothing is requested if the file cannot be opened', async () => {
  for (const fetch of [receiveBlob, download]) {
    let requests = 0;
    const repository: Parameters<typeof receiveBlob>[0] = {
      blob() {
        requests += 1;
        return Promise.resolve(inPlace([]));
      },
    };
    const descriptor = { digest: `sha256:${'0'.repeat(64)}`, size: 1 };
    const { signal } = new AbortController();
    await assert.rejects(fetch(repository, descriptor, `${folder}/none/blob`, signal), { code: 'ENOENT' });
    assert.equal(requests, 0);
  }
});
