import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { createBlobStore } from './blobs.ts';
import { makeStoreFolders, storeFolders } from './folders.ts';

test('a blob that lost its owner during a fetch is removed when the fetch fails', async () => {
  const folders = storeFolders(mkdtempSync(`${tmpdir()}/portcullis-blobs-`));
  try {
    await makeStoreFolders(folders);
    const blobs = createBlobStore(
      folders,
      () => false,
      () => 0,
    );
    const hex = 'a'.repeat(64);
    writeFileSync(`${folders.blobs}/${hex}`, 'of an image that is being removed');
    const fetched = Promise.withResolvers<undefined>();
    const claiming = blobs.claim(
      { digest: `sha256:${hex}`, size: 1, mediaType: '' },
      [() => fetched.promise],
      new AbortController().signal,
    );
    await blobs.dropUnowned(`sha256:${hex}`);
    fetched.reject(new Error('the registry is gone'));
    await assert.rejects(claiming, { code: 'IMAGES_PULL_FAILED' });
    assert.deepEqual([readdirSync(folders.blobs), readdirSync(folders.ingest)], [[], []]);
  } finally {
    rmSync(folders.root, { recursive: true });
  }
});
