import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RegistryRepository } from '../../../base/distribution/index.ts';
import { findingsOf } from './mirrors.ts';

const repository = (host: string, referrers: RegistryRepository['referrers']): RegistryRepository =>
  ({ host, referrers }) as unknown as RegistryRepository;

test('a mirror that does not answer takes no time from the others, and is waited for only once', async () => {
  const silent = repository('silent.example', async (_digest, options) => {
    await sleep(20_000, undefined, { signal: options?.signal });
    throw new Error('it was not ended');
  });
  const mirror = repository('mirror.example', () =>
    Promise.resolve({
      ...{ via: 'referrers' as const, complete: true },
      descriptors: [{ digest: 'sha256:b', mediaType: 'm', size: 1 }],
    }),
  );
  const evidence = [{ attachedTo: 'sha256:a', foundBy: 'referrers', manifest: 'sha256:b' }];
  const images = ['registry.example/a:1', 'registry.example/b:1'].map((name) => ({ name, evidence }));
  const begun = performance.now();
  const findings = await findingsOf(images, { repositories: () => [silent, mirror] }, 200);
  assert.ok(performance.now() - begun < 10_000);
  assert.deepEqual(
    findings.map(({ topic, state }) => `${topic} ${state}`),
    ['mirror mirror.example fine', 'mirror silent.example degraded'],
  );
});
