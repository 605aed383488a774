import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fixtureContent, serveFixtures } from '../../trust/evidence/fixtures/fixture-registry.ts';
import { patchOf, reviewOf, signedPolicy, startTestWebhook } from '../webhook.fixture.ts';

const ownedBy = (kind: string, controller: boolean): object => ({
  name: 'web',
  ownerReferences: [{ apiVersion: 'apps/v1', kind, name: 'web', uid: '1', controller }],
});

test('an object that its controller compares with a template keeps its tags, and its pods get digests', async (t) => {
  const { host, close } = await serveFixtures(fixtureContent(), { referrers: true });
  t.after(() => close());
  const { ask } = await startTestWebhook(t, signedPolicy);
  const [good, bad] = [`${host}/bundle/ecdsa-p256:1`, `${host}/bundle/ecdsa-p384:1`];
  const podSpec = (image: string) => ({ containers: [{ name: 'a', image }] });
  const set = (image: string, metadata: object): object => ({
    ...{ apiVersion: 'apps/v1', kind: 'ReplicaSet', metadata },
    spec: { template: { spec: podSpec(image) } },
  });
  const pod = { apiVersion: 'v1', kind: 'Pod', metadata: ownedBy('ReplicaSet', true), spec: podSpec(good) };
  const owned = await ask('/mutate', reviewOf(set(good, ownedBy('Deployment', true))));
  assert.equal(owned.response.allowed, true, owned.body);
  assert.deepEqual(patchOf(owned.response), []);
  for (const object of [pod, set(good, { name: 'web' }), set(good, ownedBy('Deployment', false))]) {
    const { response } = await ask('/mutate', reviewOf(object));
    assert.equal((patchOf(response) as unknown[]).length, 1, JSON.stringify(object));
  }
  const denied = await ask('/mutate', reviewOf(set(bad, ownedBy('Deployment', true))));
  assert.equal(denied.response.status?.code, 403);
});
