import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { serveFixtures } from '../evidence/fixtures/fixture-registry.ts';
import { amd64, gatherFixture, policyOf } from '../evidence/fixtures/fixture-image.ts';
import { ours } from '../evidence/fixtures/sample-evidence.ts';
import { contentToSign } from '../evidence/fixtures/signed-content.ts';
import type { AttestationRequirement, TrustPolicy } from '../requirements/types.ts';
import type { Dossier, Verdict } from '../findings/types.ts';
import { createDecider } from '../verdict/decider.ts';
import { explainVerdict } from '../verdict/explain-verdict.ts';
import { attestImage } from '../signing/attest-image.ts';
import { loadCel } from './cel-loaded.ts';
import { attestationCollectors } from './collectors.ts';
import { maxSizeSchema, parseSize } from './size.ts';

/** Returns a bill of materials of about this many bytes. */
function billOf(bytes: number): unknown {
  const one = (index: number) => ({
    SPDXID: `SPDXRef-${index}`,
    name: `package-${index}`,
    licenseDeclared: 'MIT',
    note: 'x'.repeat(400),
  });
  return { packages: Array.from({ length: Math.ceil(bytes / 480) }, (_, index) => one(index)) };
}

const demandOf = (maxSize?: number): AttestationRequirement => ({
  kind: 'attestation',
  predicateType: 'https://spdx.dev/Document',
  by: { kind: 'cosign-key', key: ours.public },
  cel: ["predicate.packages.exists(p, p.licenseDeclared == 'MIT')"],
  ...(maxSize === undefined ? {} : { maxSize }),
});

async function gathered(
  t: TestContext,
  sizes: readonly number[],
  format: 'bundle' | 'legacy',
  policy: TrustPolicy,
): Promise<Dossier> {
  const { content, repository, digest } = contentToSign();
  const now = new Date();
  for (const size of sizes)
    await attestImage({
      repository,
      digest,
      key: ours,
      type: 'spdxjson',
      predicate: { ...(billOf(size) as object), size },
      format,
      now,
    });
  await attestImage({
    repository,
    digest,
    key: ours,
    type: 'cyclonedx',
    predicate: billOf(400_000),
    format,
    now,
  });
  const registry = await serveFixtures(new Map([['app', content]]), { referrers: true });
  t.after(() => registry.close());
  return gatherFixture(registry.host, 'app', policy);
}

async function judged(t: TestContext, dossier: Dossier, policy: TrustPolicy): Promise<Verdict> {
  await loadCel();
  const decider = createDecider();
  t.after(() => decider.close());
  return decider.decide({
    dossier,
    reference: dossier.reference,
    namespace: '',
    platform: amd64,
    policy,
    now: new Date(),
  });
}

for (const format of ['bundle', 'legacy'] as const) {
  test(`a bill of materials of megabytes counts, and is kept small (${format})`, async (t) => {
    const policy = policyOf({ require: demandOf() });
    const dossier = await gathered(t, [3_000_000], format, policy);
    assert.deepEqual(
      dossier.items.map(({ packed, problem }) => [packed, problem]),
      [['zstd', undefined]],
      'only what is wanted is kept',
    );
    assert.ok(JSON.stringify(dossier).length < 1_500_000);
    const verdict = await judged(t, dossier, policy);
    assert.equal(verdict.outcome, 'admit', explainVerdict(verdict));
    const [item] = dossier.items;
    const altered = {
      ...dossier,
      items: [{ ...item, bytes: Buffer.from('other').toString('base64') }],
    } as Dossier;
    assert.equal((await judged(t, altered, policy)).outcome, 'deny');
  });
}

test('a large attestation that quotes another statement before its own type is kept', () => {
  const statement = {
    _type: 'https://in-toto.io/Statement/v1',
    predicate: {
      inputs: [{ predicateType: 'https://slsa.dev/provenance/v1' }],
      packages: 'x'.repeat(300_000),
    },
    predicateType: 'https://spdx.dev/Document',
    subject: [{ digest: { sha256: 'a'.repeat(64) } }],
  };
  const payload = Buffer.from(JSON.stringify(statement)).toString('base64');
  const envelope = { payloadType: 'application/vnd.in-toto+json', payload, signatures: [{ sig: 'AAAA' }] };
  const bytes = Buffer.from(JSON.stringify(envelope));
  for (const { judge } of attestationCollectors) assert.equal(judge?.(bytes, [demandOf()]), 'keep');
});

test('an attestation larger than the policy’s limit is refused with the name of the setting, and counts once that is raised', async (t) => {
  const small = policyOf({ require: demandOf(1024 * 1024) });
  const refused = await judged(t, await gathered(t, [2_000_000], 'bundle', small), small);
  assert.equal(refused.outcome, 'deny');
  assert.match(
    explainVerdict(refused),
    /at most 1048576 are read \(raise `maxSize` of the policy's attestation\)/,
  );
  const raised = policyOf({ require: demandOf(4 * 1024 * 1024) });
  assert.equal((await judged(t, await gathered(t, [2_000_000], 'bundle', raised), raised)).outcome, 'admit');
});

test('attestations beyond the total limit leave the image undecided, and leave room for signatures', async (t) => {
  const demand = demandOf(2 * 1024 * 1024);
  const policy = policyOf({ require: { ...demand, cel: ['predicate.size == 7'] } });
  const dossier = await gathered(t, [1_200_000, 1_200_001, 1_200_002, 1_200_003], 'bundle', policy);
  assert.equal(dossier.items.length, 2);
  const verdict = await judged(t, dossier, policy);
  assert.equal(verdict.outcome, 'undecided');
  assert.match(explainVerdict(verdict), /more than 4194304 bytes in total.*raise `maxSize`/);
});

test('sizes are read with their unit, up to a bound', () => {
  assert.equal(parseSize('64KiB'), 65_536);
  assert.equal(parseSize('64MiB'), 67_108_864);
  // A size that only the schema accepts would silently mean the default.
  const accepted = new RegExp(maxSizeSchema.pattern);
  for (const unit of ['KiB', 'MiB'])
    for (let count = 0; count < 100_100; count += 1)
      assert.equal(
        accepted.test(`${count}${unit}`),
        parseSize(`${count}${unit}`) !== undefined,
        `${count}${unit}`,
      );
  for (const text of ['65MiB', '0MiB', '1', 'MiB', '1MB', '-1MiB', 5])
    assert.equal(parseSize(text), undefined, String(text));
});
