import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRegistryClient, digestOf } from '../../base/distribution/index.ts';
import { keyRequirement, now, policyOf } from '../evidence/fixtures/fixture-image.ts';
import { fixtureContent, serveFixtures } from '../evidence/fixtures/fixture-registry.ts';
import { gather } from './gather.ts';

test('a sha512 digest, of which no tag of cosign can exist, has no such signature', async (t) => {
  const name = 'legacy/ecdsa-p256';
  const content = fixtureContent().get(name);
  const manifest = content?.manifests.get(content.tags.get('1') ?? '');
  assert.ok(content !== undefined && manifest !== undefined);
  const registry = await serveFixtures(new Map([[name, content]]));
  t.after(() => registry.close());
  const client = createRegistryClient();
  t.after(() => client.close());
  const digest = digestOf(manifest, 'sha512');
  const { items, unreachable } = await gather({
    reference: `${registry.host}/${name}@${digest}`,
    digest,
    manifestDigest: digest,
    repositories: client.repositories({ registry: registry.host, repository: name }),
    policy: policyOf({ require: keyRequirement('ecdsa-p256') }),
    now,
  });
  assert.deepEqual([items, unreachable], [[], []]);
});
