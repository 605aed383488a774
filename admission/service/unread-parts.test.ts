import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fixtureContent, serveFixtures } from '../../trust/evidence/fixtures/fixture-registry.ts';
import { reviewOf, signedPolicy, startTestWebhook } from '../webhook.fixture.ts';

/** A workload of a controller that the webhook does not know. */
const custom = (spec: object): object => ({
  ...{ apiVersion: 'example.com/v1', kind: 'Database', metadata: { name: 'db' }, spec },
});
const byField = custom({ image: 'registry.example.com/team/db:1' });
const byName = {
  ...{ apiVersion: 'tekton.dev/v1', kind: 'TaskRun', metadata: { name: 'run' } },
  spec: { taskRef: { name: 'build' } },
};

test('an object with parts whose images are not read is refused, and the refusal names the parts', async (t) => {
  const { ask } = await startTestWebhook(t, signedPolicy);
  for (const path of ['/validate', '/mutate'])
    for (const [object, says] of [
      [byField, /Database shop\/db, image: "registry\.example\.com\/team\/db:1" is not checked/u],
      [byName, /TaskRun shop\/run, taskRef: the images of the Task shop\/build are not checked/u],
    ] as const) {
      const { response } = await ask(path, reviewOf(object));
      assert.equal(response.allowed, false);
      assert.equal(response.status?.code, 422);
      assert.match(response.status.message, says);
      assert.match(response.status.message, /--allow-unread/u);
    }
});

test('--allow-unread gives one warning for each part', async (t) => {
  const { ask } = await startTestWebhook(t, signedPolicy, { allowUnread: true });
  const validated = await ask('/validate', reviewOf(byField));
  assert.equal(validated.response.allowed, true);
  assert.match(
    validated.response.warnings?.join('\n') ?? '',
    /^Database shop\/db, image: .* is not checked/u,
  );
  const mutated = await ask('/mutate', reviewOf(byField));
  assert.equal(mutated.response.allowed, true);
  assert.equal(mutated.response.warnings, undefined);
});

test('--allow-unread admits no image that the policy denies', async (t) => {
  const registry = await serveFixtures(fixtureContent(), { referrers: true });
  t.after(() => registry.close());
  const { ask } = await startTestWebhook(t, signedPolicy, { allowUnread: true });
  const pod = (name: string): object => ({
    containers: [{ name: 'a', image: `${registry.host}/bundle/${name}:1` }],
  });
  const object = (name: string): object => custom({ image: 'a:1', template: { spec: pod(name) } });
  const denied = await ask('/validate', reviewOf(object('ecdsa-p384')));
  assert.equal(denied.response.status?.code, 403);
  const { response } = await ask('/validate', reviewOf(object('ecdsa-p256')));
  assert.equal(response.allowed, true, JSON.stringify(response));
  assert.match(response.warnings?.[0] ?? '', /is not checked/u);
});

test('a change is refused for the unread parts that it adds', async (t) => {
  const { ask } = await startTestWebhook(t, signedPolicy);
  const change = async (object: object, oldObject: object): Promise<boolean> =>
    (await ask('/validate', reviewOf(object, { operation: 'UPDATE', oldObject }))).response.allowed;
  assert.equal(await change({ ...byField, status: { image: 'b:1' } }, byField), true);
  assert.equal(await change(custom({ image: 'registry.example.com/team/db:2' }), byField), false);
  assert.equal(await change(byField, custom({})), false);
});
