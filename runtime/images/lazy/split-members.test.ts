import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import { splitMembers } from './split-members.ts';

describe('the gzip members of a blob', () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-members-'));
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });
  const write = (bytes: Uint8Array): string => {
    const path = join(folder, 'blob');
    writeFileSync(path, bytes);
    return path;
  };

  it('become chunks that can be inflated separately', async () => {
    const contents = [randomBytes(100_000), Buffer.alloc(1_000_000, 7), Buffer.from('x')];
    const blob = Buffer.concat(contents.map((content) => gzipSync(content)));
    const { chunks, digest } = await splitMembers(write(blob), 'blob');
    assert.equal(digest, `sha256:${createHash('sha256').update(blob).digest('hex')}`);
    assert.deepEqual(
      chunks.map(({ bytes }) => bytes),
      contents.map(({ length }) => length),
    );
    let at = 0;
    for (const [index, { blobBytes, sha256 }] of chunks.entries()) {
      const part = blob.subarray(at, at + blobBytes);
      assert.equal(createHash('sha256').update(part).digest('hex'), sha256);
      assert.ok(gunzipSync(part).equals(contents[index] ?? Buffer.alloc(0)));
      at += blobBytes;
    }
    assert.equal(at, blob.length);
  });

  for (const [what, blob] of [
    ['that is one member of more than 4 MiB', gzipSync(randomBytes(5 * 1024 * 1024))],
    ['that inflates to more than 4 MiB', gzipSync(Buffer.alloc(5 * 1024 * 1024))],
    ['that is not gzip', randomBytes(1000)],
    ['that is truncated', gzipSync(randomBytes(1000)).subarray(0, 900)],
    ['with other bytes after its members', Buffer.concat([gzipSync(randomBytes(10)), Buffer.alloc(512)])],
    ['that is empty', Buffer.alloc(0)],
  ] as const)
    it(`are not used as chunks in a blob ${what}`, async () => {
      await assert.rejects(splitMembers(write(blob), 'blob'), { code: 'IMAGES_BAD_CHUNK_INDEX' });
    });
});
