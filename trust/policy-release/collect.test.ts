import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cachedRootFile } from '../sigstore/root-cache.ts';
import { filesOutside } from './collect.ts';

test('a folder that a policy names as its cache of roots admits no other file outside', () => {
  const url = 'https://tuf.example.com';
  for (const cache of ['/', '/etc/keys']) {
    const files = ['/release/policy.yaml', cachedRootFile(cache, url), '/etc/keys/build.pub'];
    assert.deepEqual(filesOutside('/release', { files, tufRoots: [{ url, cache }] }), [
      '/etc/keys/build.pub',
    ]);
  }
});
