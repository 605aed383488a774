import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { amd64 } from '../evidence/fixtures/fixture-image.ts';
import { digest, dossierOf, item, reference } from '../evidence/fixtures/sample-evidence.ts';
import { loadPolicy } from '../policy/load.ts';
import { mockIssuer, mockSubject, startMockSigstore } from '../sigstore/fixtures/mock-sigstore.ts';
import { bundleVerifications } from '../keys/remembered.ts';
import { imageStatement } from '../signing/dsse-bundle.ts';
import { decide } from './decide.ts';
import { policyText } from '../policy/policy-text.ts';
import { prepareDecision } from './prepare.ts';
import { verifyAhead } from './verify-ahead.ts';

test('eight containers and five authorities on one digest cost one verification, and the answer equals that of a first verification', async (t) => {
  const mock = await startMockSigstore();
  t.after(() => mock.close());
  const folder = await mkdtemp(join(tmpdir(), 'shared-verification-'));
  t.after(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, 'root.json'), JSON.stringify(mock.trustedRoot()));
  const subjects = [
    mockSubject,
    'https://example.com/team/**',
    'https://example.com/**',
    'https://example.com/team/app/**',
    'https://other.example/x',
  ];
  const any = subjects
    .map(
      (subject) => `        - sigstore: { issuer: "${mockIssuer}", subject: "${subject}", root: root.json }`,
    )
    .join('\n');
  await writeFile(
    join(folder, 'policy.yaml'),
    `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["registry.example.com/**"]\n    require:\n      any:\n${any}\n`,
  );
  const { policy } = await loadPolicy({ paths: [join(folder, 'policy.yaml')] });
  const bundle = await mock.sign(imageStatement(digest), { rekor: 1, inToto: true });
  const dossier = dossierOf([item('sigstore-bundle', Buffer.from(JSON.stringify(bundle)))]);
  const now = new Date();
  const ask = (namespace: string, by = policy) =>
    decide({ dossier, reference, namespace, platform: amd64, policy: by, now });
  const before = bundleVerifications();
  const verdicts = Array.from({ length: 8 }, (_, index) => ask(`team-${index}`));
  assert.equal(bundleVerifications() - before, 1);
  assert.deepEqual(
    [...new Set(verdicts.map(({ outcome }) => outcome))],
    ['admit'],
    JSON.stringify(verdicts[0]?.reasons),
  );

  // The policy as a replay reads it back from storage.
  const stored = JSON.parse(policyText(policy).json) as typeof policy;
  await prepareDecision(stored);
  assert.deepEqual(ask('team-3', stored), verdicts[3]);

  // Before the time of signing: an earlier answer does not apply to an earlier time.
  const early = decide({
    dossier,
    reference,
    namespace: 'team-0',
    platform: amd64,
    policy,
    now: new Date(now.getTime() - 86_400_000),
  });
  assert.equal(early.outcome, 'deny');
  assert.equal(ask('team-9').outcome, 'admit');
});

test('dozens of signatures are verified a few at a time, and decide then finds the results cached', async (t) => {
  const mock = await startMockSigstore();
  t.after(() => mock.close());
  const folder = await mkdtemp(join(tmpdir(), 'verify-ahead-'));
  t.after(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, 'root.json'), JSON.stringify(mock.trustedRoot()));
  const require = `{ sigstore: { issuer: "${mockIssuer}", subject: "https://nobody.example/**", root: root.json } }`;
  await writeFile(
    join(folder, 'policy.yaml'),
    `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["**"]\n    require: ${require}\n`,
  );
  const { policy } = await loadPolicy({ paths: [join(folder, 'policy.yaml')] });
  const bundles = await Promise.all(
    Array.from({ length: 12 }, () => mock.sign(imageStatement(digest), { rekor: 1, inToto: true })),
  );
  const dossier = dossierOf(
    bundles.map((bundle) => item('sigstore-bundle', Buffer.from(JSON.stringify(bundle)))),
  );
  const now = new Date();
  let turns = 0;
  const ticking = setInterval(() => (turns += 1), 0);
  await verifyAhead({ dossier, reference, policy, now });
  clearInterval(ticking);
  assert.ok(turns > 2, `others ran ${turns} times in between`);
  const before = bundleVerifications();
  assert.equal(decide({ dossier, reference, namespace: 'a', platform: amd64, policy, now }).outcome, 'deny');
  assert.equal(bundleVerifications(), before);
});
