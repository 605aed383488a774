import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { findRegistry, startRegistry } from '../../test/fixtures/registry.ts';
import type { TestRegistry } from '../../test/fixtures/registry.ts';
import { sealDossier } from '../../trust/evidence/index.ts';
import { loadPolicy } from '../../trust/index.ts';
import type { Verdict } from '../../trust/index.ts';
import { createDecisions } from './decisions.ts';
import { openKit, pushImage, tarOf } from './test-kit.ts';
import type { Kit } from './test-kit.ts';

describe('decisions', { skip: findRegistry() === undefined ? 'no docker-registry' : false }, () => {
  let registry: TestRegistry;
  let kit: Kit;
  before(async () => {
    registry = await startRegistry();
    kit = await openKit(registry.host);
  });
  after(async () => {
    await kit.close();
    await registry.close();
  });

  it('follow the policy that is in force when they are used', async () => {
    const layers = [{ tar: await tarOf([]) }];
    const { digest } = await pushImage(kit.repository('signed/app'), { tag: '1', layers });
    await kit.sign('signed/app', digest);
    const { image } = await kit.store.pull({ reference: kit.reference('signed/app'), namespace: '' });
    const running = kit.store.decideForRun({ image, userSpecified: '', namespace: '' });
    // Immediately: the decision has begun and is not made yet.
    void kit.usePolicy(undefined);
    await assert.rejects(running, (error) => isPortcullisError(error) && error.code === 'IMAGES_NO_POLICY');
  });

  it('that refuse name the folder of their log, if it is not the usual one', () => {
    const refused = {
      id: `sha256:${'a'.repeat(64)}`,
      outcome: 'deny',
      reference: 'registry.example.com/app:1',
    };
    const verdict = { ...refused, digest: '', reasons: { counted: false, text: 'x' } };
    const messageOf = (root: string): string =>
      createDecisions({
        root,
        policy: () => undefined,
        now: () => new Date(),
        database: kit.database,
      }).refusal(verdict as unknown as Verdict, 'pull image').message;
    assert.match(messageOf('/var/lib/portcullis'), /verdicts show a{13} lists/u);
    assert.match(
      messageOf('/var/lib/portcullis-proxy'),
      /verdicts show a{13} --root \/var\/lib\/portcullis-proxy lists/u,
    );
  });

  it('that admit are not used after their expiry, even if their evidence is not available', async () => {
    const [begin, end] = [Date.parse('2030-01-01T00:00:00Z'), '2030-01-02T00:00:00Z'];
    const file = `${kit.folder}/ends.yaml`;
    writeFileSync(
      file,
      `apiVersion: portcullis.dev/v1alpha1
kind: TrustPolicy
rules:
  - images: ['**']
    require: { cosign: { key: k.pub } }
    breakGlass: { until: '${end}', reason: test, by: somebody }
`,
    );
    const { policy } = await loadPolicy({ paths: [file] });
    let now = begin;
    const decisions = createDecisions({
      root: '/var/lib/portcullis',
      policy: () => policy,
      now: () => new Date(now),
      database: kit.database,
    });
    const digest = `sha256:${'a'.repeat(64)}`;
    const frame = {
      attachedTo: digest,
      foundBy: 'referrers',
      servedBy: registry.host,
      manifestDigest: digest,
      mediaType: '',
    };
    const item = {
      ...frame,
      kind: 'attestation',
      blobDigest: `sha256:${'b'.repeat(64)}`,
      annotations: {},
      packed: 'zstd',
      apart: true,
    } as const;
    const reference = 'registry.example.com/app:1';
    const dossier = sealDossier({
      reference,
      digest,
      manifestDigest: digest,
      items: [item],
      unreachable: [],
      gatheredAt: new Date(now).toISOString(),
    });
    const question = { dossier, reference, namespace: '', platform: { os: 'linux', architecture: 'amd64' } };
    try {
      await decisions.prepare(policy, question);
      assert.equal(decisions.again(policy, question).verdict.outcome, 'admit');
      now = Date.parse(end);
      assert.notEqual(decisions.again(policy, question).verdict.outcome, 'admit');
    } finally {
      await decisions.close();
    }
  });

  it('of a clock that was ahead are made again after the clock is corrected', async () => {
    const file = `${kit.folder}/ahead.yaml`;
    writeFileSync(
      file,
      `apiVersion: portcullis.dev/v1alpha1
kind: TrustPolicy
rules:
  - images: ['**']
    require: { cosign: { key: k.pub } }
    breakGlass: { until: '2030-01-02T00:00:00Z', reason: test, by: somebody }
`,
    );
    const { policy } = await loadPolicy({ paths: [file] });
    let now = Date.parse('2036-02-07T06:28:16Z');
    const decisions = createDecisions({
      root: '/var/lib/portcullis',
      policy: () => policy,
      now: () => new Date(now),
      database: kit.database,
    });
    const reference = 'registry.example.com/app:1';
    const digest = `sha256:${'a'.repeat(64)}`;
    const gatheredAt = new Date(0).toISOString();
    const parts = { reference, digest, manifestDigest: digest, items: [], unreachable: [], gatheredAt };
    const platform = { os: 'linux', architecture: 'amd64' };
    const question = { dossier: sealDossier(parts), reference, namespace: '', platform };
    try {
      await decisions.prepare(policy, question);
      assert.equal(decisions.again(policy, question).verdict.outcome, 'deny');
      now = Date.parse('2030-01-01T00:00:00Z');
      await decisions.prepare(policy, question);
      assert.equal(decisions.again(policy, question).verdict.outcome, 'admit');
    } finally {
      await decisions.close();
    }
  });

  it('cache verdicts up to a number of bytes', async () => {
    const file = `${kit.folder}/large.yaml`;
    const images = Array.from({ length: 100 }, (_, index) => `'registry.example.com/large-${index}/**'`);
    writeFileSync(
      file,
      `apiVersion: portcullis.dev/v1alpha1
kind: TrustPolicy
rules:
  - images: ['**', ${images.join(', ')}]
    require: { cosign: { key: k.pub } }
`,
    );
    const { policy } = await loadPolicy({ paths: [file] });
    let now = Date.parse('2030-01-01T00:00:00Z');
    const decisions = createDecisions({
      root: '/var/lib/portcullis',
      policy: () => policy,
      now: () => new Date(now),
      database: kit.database,
      verdictBytes: 20_000,
    });
    const askedAbout = (name: string): string => {
      const reference = `registry.example.com/${name}:1`;
      const digest = `sha256:${'a'.repeat(64)}`;
      const gatheredAt = new Date(0).toISOString();
      const parts = { reference, digest, manifestDigest: digest, items: [], unreachable: [], gatheredAt };
      const platform = { os: 'linux', architecture: 'amd64' };
      const question = { dossier: sealDossier(parts), reference, namespace: '', platform };
      return decisions.again(policy, question).verdict.decidedAt;
    };
    try {
      const first = askedAbout('first');
      now += 1000;
      assert.equal(askedAbout('first'), first, 'it is in the cache');
      askedAbout('second');
      askedAbout('third');
      assert.notEqual(askedAbout('first'), first, 'there is no room for three');
    } finally {
      await decisions.close();
    }
  });
});
