import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterEach, beforeEach, test } from 'node:test';
import { download as downloadFrom } from './download.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(`${tmpdir()}/portcullis-download-`);
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

/** Downloads a stream as the blob of a registry. */
function download(stream: AsyncIterable<Uint8Array>, path: string): Promise<void> {
  const descriptor = { digest: `sha256:${'0'.repeat(64)}`, size: 1 };
  return downloadFrom(
    { blob: () => Promise.resolve(stream) },
    descriptor,
    path,
    new AbortController().signal,
  );
}

async function* streamOf(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) yield await Promise.resolve(chunk);
}

/** A chunk with separate memory. */
const chunkOf = (bytes: number, fill: number): Buffer => Buffer.allocUnsafeSlow(bytes).fill(fill);

test('a stream of many chunks becomes a file of mode 0600', async () => {
  const chunks = Array.from({ length: 100 }, (_, index) => chunkOf(50_000 + index, index));
  const whole = Buffer.concat(chunks);
  await download(streamOf(chunks), `${folder}/blob`);
  assert.ok(readFileSync(`${folder}/blob`).equals(whole));
  assert.equal(statSync(`${folder}/blob`).mode & 0o7777, 0o600);
});

test('the memory of a chunk is freed when the chunk is written', async () => {
  const chunks = Array.from({ length: 40 }, () => chunkOf(100_000, 1));
  let most = 0;
  async function* counted(): AsyncGenerator<Uint8Array> {
    for (const [index, chunk] of chunks.entries()) {
      yield await Promise.resolve(chunk);
      most = Math.max(most, chunks.slice(0, index + 1).filter(({ byteLength }) => byteLength > 0).length);
    }
  }
  await download(counted(), `${folder}/blob`);
  assert.ok(chunks.every(({ byteLength }) => byteLength === 0));
  // One batch of 1 MiB is filled while another one is written.
  assert.ok(most <= 24, `${most} chunks were in memory`);
});

test('memory that a chunk shares with other bytes is not freed', async () => {
  const shared = chunkOf(1000, 7);
  await download(
    streamOf([shared.subarray(0, 400), shared.subarray(400), Buffer.from('abc')]),
    `${folder}/blob`,
  );
  assert.ok(shared.equals(Buffer.alloc(1000, 7)));
  assert.equal(readFileSync(`${folder}/blob`).length, 1003);
});

test('a chunk that arrives twice in one batch is written twice', async () => {
  const chunk = chunkOf(10, 3);
  await download(streamOf([chunk, chunk]), `${folder}/blob`);
  assert.ok(readFileSync(`${folder}/blob`).equals(Buffer.alloc(20, 3)));
});

test('the download fails when the stream fails', async () => {
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield await Promise.resolve(chunkOf(10, 1));
    throw new Error('connection lost');
  }
  await assert.rejects(download(broken(), `${folder}/blob`), /connection lost/u);
});

test('the download fails on a full disk, with the reason from the system', async () => {
  await assert.rejects(download(streamOf([chunkOf(10, 1)]), '/dev/full'), { code: 'ENOSPC' });
});
