import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { processorMs } from '../../test/fixtures/cost.ts';
import { publisherCeiling } from './publisher.ts';

const statement = (attestation: string, part: object): { profile: object; attestation: string } => ({
  attestation,
  profile: {
    ...{ apiVersion: 'portcullis.dev/v1alpha1', kind: 'EntitlementProfile', metadata: { name: 'image' } },
    ...part,
  },
});

describe('the statements of a publisher', () => {
  it('are a ceiling with what all of them grant', () => {
    assert.equal(publisherCeiling([]), undefined);
    const found = publisherCeiling([
      statement('a', { resources: { pids: 10 } }),
      statement('b', { resources: { pids: 20, memory: 30 } }),
    ]);
    assert.deepEqual(found?.profile.resources, { memory: 30n, pids: 10n });
  });

  it('are read once for all containers of an image, also if they are refused', () => {
    const read = Array.from({ length: 300 }, (_, at) => `/a${at}/*x*`);
    const good = [statement('a', { files: { read } }), statement('b', { files: { read: read.slice(1) } })];
    const bad = [statement('c', { files: { read: read.map((path) => path.slice(1)) } })];
    const first = publisherCeiling(good);
    const refusal = { code: 'ENTITLEMENTS_BAD_PROFILE', message: /c:\d+:\d+: files\.read/ };
    assert.throws(() => publisherCeiling(bad), refusal);
    const start = processorMs();
    for (let at = 0; at < 20; at += 1) {
      assert.equal(publisherCeiling(structuredClone(good)), first);
      assert.throws(() => publisherCeiling(structuredClone(bad)), refusal);
    }
    assert.ok(processorMs() - start < 500);
    for (let at = 0; at < 40; at += 1)
      publisherCeiling([statement(`d${at}`, { resources: { pids: 1 + at } })]);
    assert.deepEqual(publisherCeiling(good), first);
  });
});
