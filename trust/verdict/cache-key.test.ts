import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sealDossier } from '../evidence/dossier.ts';
import type { Dossier } from '../findings/types.ts';
import { verdictCacheKey } from './cache-key.ts';
import type { VerdictQuestion } from './cache-key.ts';

const digest = `sha256:${'a'.repeat(64)}`;
const reference = 'registry.example.com/pay/app:1';
const unsealed: Omit<Dossier, 'id' | 'version'> = {
  ...{ reference, digest, manifestDigest: digest, items: [], unreachable: [] },
  gatheredAt: '2026-01-01T00:00:00.000Z',
};
const question: VerdictQuestion = {
  dossier: sealDossier(unsealed),
  reference,
  namespace: 'pay',
  platform: { os: 'linux', architecture: 'amd64' },
  policy: { revision: 'sha256:1', default: 'deny', rules: [] },
};

const others: readonly (readonly [part: string, other: VerdictQuestion])[] = [
  ['reference', { ...question, reference: 'registry.example.com/pay/app:2' }],
  ['namespace', { ...question, namespace: '' }],
  ['platform', { ...question, platform: { os: 'linux', architecture: 'arm64' } }],
  ['variant of the platform', { ...question, platform: { ...question.platform, variant: 'v8' } }],
  ['revision of the policy', { ...question, policy: { ...question.policy, revision: 'sha256:2' } }],
  [
    'evidence',
    {
      ...question,
      dossier: sealDossier({ ...unsealed, unreachable: [{ source: 'referrers', why: 'timeout' }] }),
    },
  ],
  [
    'digest of the index',
    { ...question, dossier: sealDossier({ ...unsealed, digest: `sha256:${'b'.repeat(64)}` }) },
  ],
  [
    'digest of the manifest',
    { ...question, dossier: sealDossier({ ...unsealed, manifestDigest: `sha256:${'b'.repeat(64)}` }) },
  ],
];

for (const [part, other] of others) {
  test(`another ${part} has another key`, () => {
    assert.notEqual(verdictCacheKey(other), verdictCacheKey(question));
  });
}

test('the parts of the key cannot run into each other', () => {
  const one = { ...question, reference: 'registry.example.com/app', namespace: 'b","c' };
  const two = { ...question, reference: 'registry.example.com/app","b', namespace: 'c' };
  assert.notEqual(verdictCacheKey(one), verdictCacheKey(two));
});

test('the time of gathering and the order of fields do not change the key', () => {
  const again = sealDossier({ ...unsealed, gatheredAt: '2026-01-02T00:00:00.000Z' });
  const platform = { architecture: 'amd64', os: 'linux' };
  assert.equal(verdictCacheKey({ ...question, dossier: again, platform }), verdictCacheKey(question));
});
