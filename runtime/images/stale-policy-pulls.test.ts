import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withHeldPulls } from './stale-policy-pulls.ts';
import type { OpenImageStore } from './image-store.ts';

const here = `r.test/app@sha256:${'a'.repeat(64)}`;

test('while there is a reason to refuse, only digests that are recorded are pulled', async () => {
  const held: { why?: string } = {};
  const done: string[] = [];
  const answer = (request: { readonly reference: string }): Promise<never> => {
    done.push(request.reference);
    return Promise.resolve() as Promise<never>;
  };
  const store = {
    find: (name: string) => (name === here || name === 'r.test/app:1' ? {} : undefined),
    pull: answer,
    importLayout: answer,
  } as unknown as OpenImageStore;
  const images = withHeldPulls(store, () => held.why);
  const pull = (reference: string): Promise<unknown> => images.pull({ reference, namespace: '' });
  await pull('r.test/app:1');
  held.why = 'the policy release is stale';
  const refused = { code: 'IMAGES_POLICY_STALE', kind: 'denied' };
  await pull(here);
  // The tag may mean another image by now.
  await assert.rejects(pull('r.test/app:1'), refused);
  await assert.rejects(pull(`r.test/other@sha256:${'a'.repeat(64)}`), refused);
  const layout = { folder: '/x', digest: 'sha256:a', reference: here, namespace: '' };
  await assert.rejects(images.importLayout({ ...layout, signal: new AbortController().signal }), refused);
  assert.deepEqual(done, ['r.test/app:1', here]);
});
