import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { createGunzip, createZstdDecompress, gzipSync, zstdCompressSync } from 'node:zlib';
import type { Transform } from 'node:stream';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { byStream, decompress } from './decompress.ts';

const none = new AbortController().signal;
/** Half of it compresses. */
const content = Buffer.from(
  Array.from({ length: 2_000_000 }, (_, at) => ((at >> 12) % 2 === 0 ? (at * at) >> 3 : at % 7)),
);

let path = '';
beforeEach(() => {
  path = `${mkdtempSync('/dev/shm/portcullis-decompress-')}/blob`;
});
afterEach(() => {
  rmSync(path.slice(0, -'/blob'.length), { recursive: true });
});

/** The bytes that arrive, and the code of the error that ends them. */
async function outcomeOf(
  chunks: AsyncGenerator<Buffer>,
): Promise<{ readonly bytes: Buffer; readonly code: string }> {
  const copies: Buffer[] = [];
  try {
    for await (const chunk of chunks) copies.push(Buffer.from(chunk));
    return { bytes: Buffer.concat(copies), code: '' };
  } catch (thrown) {
    assert.ok(isPortcullisError(thrown), String(thrown));
    return { bytes: Buffer.concat(copies), code: thrown.code };
  }
}

function changedAt(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] as number) ^ 0x55;
  return copy;
}

const formats: readonly (readonly [string, Buffer, () => Transform])[] = [
  ['gzip', gzipSync(content), createGunzip],
  ['zstd', zstdCompressSync(content), createZstdDecompress],
];

for (const [name, whole, stream] of formats) {
  describe(name, () => {
    for (const [what, blob, code] of [
      ['whole', whole, ''],
      ['cut off', whole.subarray(0, whole.length >> 1), 'IMAGES_LAYER_TRUNCATED'],
      ['cut off in its last bytes', whole.subarray(0, -2), 'IMAGES_LAYER_TRUNCATED'],
      ['cut off after its first bytes', whole.subarray(0, 4), 'IMAGES_LAYER_TRUNCATED'],
      [
        'changed at its end',
        changedAt(whole, whole.length - (name === 'gzip' ? 6 : 1)),
        name === 'gzip' ? 'IMAGES_LAYER_CORRUPT' : '',
      ],
    ] as const) {
      test(`a blob that is ${what} has the bytes and the code of Node's stream`, async () => {
        writeFileSync(path, blob);
        const found = await outcomeOf(decompress(path, none));
        const expected = await outcomeOf(byStream(path, stream(), none));
        if (code !== '') assert.equal(found.code, code);
        assert.equal(found.code, expected.code);
        // A stream that fails discards decompressed data: the amount that was returned before is not fixed.
        if (expected.code === '') assert.ok(found.bytes.equals(expected.bytes));
        else assert.ok(found.bytes.equals(content.subarray(0, found.bytes.length)));
      });
    }
  });
}

test('a skippable frame may begin a zstd blob, as pzstd writes it', async () => {
  const frame = Buffer.from('502a4d180400000000000000', 'hex');
  writeFileSync(path, Buffer.concat([frame, zstdCompressSync(content)]));
  const { bytes, code } = await outcomeOf(decompress(path, none));
  assert.equal(code, '');
  assert.ok(bytes.equals(content));
});

test('a zstd window above the limit is too large, and not damage', async () => {
  // A frame header (RFC 8878, section 3.1.1.1) with a window of 256 MiB, and an empty last block.
  writeFileSync(path, Buffer.from('28b52ffd0090010000', 'hex'));
  assert.equal((await outcomeOf(decompress(path, none))).code, 'IMAGES_LAYER_TOO_LARGE');
});

test('a plain blob is returned unchanged', async () => {
  writeFileSync(path, content);
  const { bytes } = await outcomeOf(decompress(path, none));
  assert.ok(bytes.equals(content));
});

test('blobs of up to four bytes are returned unchanged', async () => {
  for (const bytes of ['', 'a', 'abcd']) {
    writeFileSync(path, bytes);
    assert.deepEqual(await outcomeOf(decompress(path, none)), { bytes: Buffer.from(bytes), code: '' });
  }
});

test('an aborted signal ends it immediately', async () => {
  writeFileSync(path, gzipSync(content));
  const reason = new Error('stop here');
  await assert.rejects(decompress(path, AbortSignal.abort(reason)).next(), (thrown) => thrown === reason);
});
