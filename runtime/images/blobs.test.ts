import assert from 'node:assert/strict';
import { linkSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
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
      { from: 'a registry', sources: [() => fetched.promise] },
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

test('a pull does not wait for the fetch of another registry, and the slower pull takes its blob', async () => {
  const folders = storeFolders(mkdtempSync(`${tmpdir()}/portcullis-blobs-`));
  try {
    await makeStoreFolders(folders);
    const owned = new Set<string>();
    const blobs = createBlobStore(
      folders,
      (digest) => owned.has(digest),
      () => 0,
    );
    const hex = 'a'.repeat(64);
    const descriptor = { digest: `sha256:${hex}`, size: 1, mediaType: '' };
    const place = `${folders.blobs}/${hex}`;
    const answered = Promise.withResolvers<undefined>();
    const writing = (path: string): Promise<void> => Promise.resolve(writeFileSync(path, 'x'));
    const { signal } = new AbortController();
    const slow = blobs.claim(
      descriptor,
      { from: 'slow.test', sources: [(path) => answered.promise.then(() => writing(path))] },
      signal,
    );
    const claim = await blobs.claim(descriptor, { from: 'good.test', sources: [writing] }, signal);
    assert.equal(claim.pendingMove()?.to, place);
    linkSync(claim.path, place);
    claim.published();
    owned.add(descriptor.digest);
    await claim.release();
    answered.resolve(undefined);
    const late = await slow;
    assert.equal(late.pendingMove(), undefined);
    owned.clear();
    await blobs.dropUnowned(descriptor.digest);
    assert.deepEqual([readdirSync(folders.blobs), late.pendingMove()?.to], [[hex], place]);
    await late.release();
    assert.deepEqual([readdirSync(folders.blobs), readdirSync(folders.ingest)], [[], []]);
  } finally {
    rmSync(folders.root, { recursive: true });
  }
});

test('a fetch reports its own failure, also if its file cannot be removed', async () => {
  const folders = storeFolders(mkdtempSync(`${tmpdir()}/portcullis-blobs-`));
  try {
    await makeStoreFolders(folders);
    const blobs = createBlobStore(
      folders,
      () => false,
      () => 0,
    );
    const failing = (path: string): Promise<void> => {
      mkdirSync(path);
      return Promise.reject(Object.assign(new Error('EROFS: read-only file system'), { code: 'EROFS' }));
    };
    const claiming = blobs.claim(
      { digest: `sha256:${'a'.repeat(64)}`, size: 1, mediaType: '' },
      { from: 'a registry', sources: [failing] },
      new AbortController().signal,
    );
    await assert.rejects(claiming, {
      code: 'IMAGES_PULL_FAILED',
      message: /image store is read-only \(EROFS\); look in the kernel log .* remount/u,
    });
  } finally {
    rmSync(folders.root, { recursive: true });
  }
});
