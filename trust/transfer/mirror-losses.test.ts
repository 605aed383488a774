import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RegistryRepository } from '../../base/distribution/index.ts';
import { lackingAtMirror } from './mirror-losses.ts';

const evidence = { attachedTo: 'sha256:a', foundBy: 'referrers', manifest: 'sha256:b' };
const mirror = (complete: boolean): RegistryRepository =>
  ({
    referrers: () => Promise.resolve({ via: 'referrers', descriptors: [], complete }),
  }) as unknown as RegistryRepository;

test('a complete listing shows what a mirror lacks, and an incomplete listing does not', async () => {
  const { signal } = new AbortController();
  assert.deepEqual(await lackingAtMirror(mirror(true), [evidence], signal), [evidence]);
  assert.deepEqual(await lackingAtMirror(mirror(false), [evidence], signal), []);
});
