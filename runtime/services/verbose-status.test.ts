import assert from 'node:assert/strict';
import { it } from 'node:test';
import { createVerboseInfo } from './verbose-status.ts';

it('the verbose status of a pod does not wait for a network thread that does not answer', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { sandbox } = createVerboseInfo({
    findVerdict: () => Promise.resolve(undefined),
    runtimeSpec: () => Promise.resolve(undefined),
    linkState: () => new Promise(() => undefined),
    outOfPolicy: () => undefined,
    isUnmonitored: () => false,
    policyRevision: () => undefined,
  });
  const asked = sandbox('pod', []);
  t.mock.timers.tick(1000);
  const info = await asked;
  assert.deepEqual(Object.keys(info).sort(), ['link', 'profiles', 'verdicts']);
  assert.match(info['link'] ?? '', /"why":"the network thread did not answer within 1000 ms"/u);
});
