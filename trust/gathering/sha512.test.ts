import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf } from '../../base/distribution/index.ts';
import { gatherFixture, keyRequirement, policyOf } from '../evidence/fixtures/fixture-image.ts';
import { fixtureContent, serveFixtures } from '../evidence/fixtures/fixture-registry.ts';

test('a sha512 digest, of which no tag of cosign can exist, has no such signature', async (t) => {
  const content = fixtureContent();
  const repository = content.get('legacy/ecdsa-p256');
  const manifest = repository?.manifests.get(repository.tags.get('1') ?? '');
  assert.ok(repository !== undefined && manifest !== undefined);
  const digest = digestOf(manifest, 'sha512');
  repository.manifests.set(digest, manifest);
  repository.tags.set('1', digest);
  const registry = await serveFixtures(content);
  t.after(() => registry.close());
  const policy = policyOf({ require: keyRequirement('ecdsa-p256') });
  const dossier = await gatherFixture(registry.host, 'legacy/ecdsa-p256', policy);
  assert.deepEqual([dossier.digest, dossier.items, dossier.unreachable], [digest, [], []]);
});
