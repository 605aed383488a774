import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { isPortcullisError } from '../../base/errors/index.ts';
import { now, policyOf } from '../evidence/fixtures/fixture-image.ts';
import {
  bundle,
  decided,
  foreign,
  hex,
  otherDigest,
  ours,
  unreachable,
} from '../evidence/fixtures/sample-evidence.ts';
import type { EvidenceItem, Verdict } from '../findings/types.ts';
import { explainPolicy } from '../policy/explain-policy.ts';
import { loadPolicy } from '../policy/load.ts';
import { testPolicy } from '../policy/testing/policy-tests.ts';
import type { AttestationRequirement, SummaryDemand } from '../requirements/types.ts';
import { adviceOf } from '../verdict/advice.ts';
import { explainVerdict } from '../verdict/explain-verdict.ts';
import { attested, envelope, statementText } from './fixtures/sample-attestations.ts';
import { summaryPredicateType } from './predicate-types.ts';

const verifier = 'https://ci.example.com/gate';
const revision = '1'.repeat(64);
const minutes = (count: number): string => new Date(now.getTime() + count * 60_000).toISOString();
const passed = {
  verifier: { id: verifier, version: { portcullis: '1.0.0' } },
  timeVerified: minutes(-60),
  resourceUri: `oci://registry.example.com/pay/app@sha256:${hex}`,
  policy: { uri: 'urn:x:policy', digest: { sha256: revision } },
  verificationResult: 'PASSED',
  verifiedLevels: ['SLSA_BUILD_LEVEL_2', 'ORG_SCANNED'],
  slsaVersion: '1.2',
};
const text = (changes: object = {}, statement: Readonly<Record<string, unknown>> = {}): string =>
  statementText({ ...passed, ...changes }, { predicateType: summaryPredicateType, ...statement });
const summary = (changes: object = {}, statement = {}): EvidenceItem => attested(text(changes, statement));

const demand = (more: Partial<SummaryDemand> = {}): AttestationRequirement => ({
  kind: 'attestation',
  predicateType: summaryPredicateType,
  by: { kind: 'cosign-key', key: ours.public },
  cel: [],
  summary: { verifier, maxAge: 86_400, ...more },
});
const verdictOn = (items: readonly EvidenceItem[], more: Partial<SummaryDemand> = {}, parts = {}): Verdict =>
  decided(items, policyOf({ require: demand(more) }), parts);

const subjectOf = (digest: string) => ({ subject: [{ digest: { sha256: digest.replace('sha256:', '') } }] });

test('a summary that meets the rule admits the image, until the summary is too old', () => {
  for (const [items, more] of [
    [[summary()], {}],
    [[summary()], { policy: revision, levels: ['SLSA_BUILD_LEVEL_1', 'SLSA_BUILD_LEVEL_2', 'ORG_SCANNED'] }],
    [[summary({ resourceUri: 'registry.example.com/pay/app' })], {}],
    [[summary({ resourceUri: 'docker://registry.example.com/pay/app:1' })], {}],
    [
      [summary({ resourceUri: 'https://staging.example.com/pay/app' })],
      { resource: 'staging.example.com/**' },
    ],
    [[summary({}, subjectOf(`sha256:${'b'.repeat(64)}`))], {}],
    [[summary({ timeVerified: minutes(4) })], {}],
    [[summary()], { maxAge: 999_999_999 * 604_800 }],
    [[summary({ verificationResult: 'FAILED' }), summary()], {}],
  ] as const) {
    const verdict = verdictOn(items, more);
    assert.equal(verdict.outcome, 'admit', explainVerdict(verdict));
  }
  assert.equal(verdictOn([summary()]).validUntil, minutes(-60 + 24 * 60));
  assert.equal(
    verdictOn([summary({ timeVerified: minutes(-30) }), summary()]).validUntil,
    minutes(-30 + 24 * 60),
  );
});

test('every other summary is refused with its own reason', () => {
  for (const [name, item, code, more] of [
    ['of another digest', summary({}, subjectOf(otherDigest)), 'TRUST_SIGNATURE_OTHER_DIGEST', {}],
    ['by another key', envelope(text(), [foreign]), 'TRUST_SIGNATURE_WRONG', {}],
    ['refused by the verifier', summary({ verificationResult: 'FAILED' }), 'TRUST_VSA_FAILED', {}],
    [
      'of another verifier',
      summary({ verifier: { id: `${verifier}/other` } }),
      'TRUST_VSA_OTHER_VERIFIER',
      {},
    ],
    ['of no verifier', summary({ verifier: undefined }), 'TRUST_VSA_OTHER_VERIFIER', {}],
    [
      'of another repository',
      summary({ resourceUri: 'oci://registry.example.com/pay/other' }),
      'TRUST_VSA_OTHER_RESOURCE',
      {},
    ],
    [
      'of another registry',
      summary({ resourceUri: 'oci://mirror.example.com/pay/app' }),
      'TRUST_VSA_OTHER_RESOURCE',
      {},
    ],
    [
      'of another tag',
      summary({ resourceUri: 'oci://registry.example.com/pay/app:2' }),
      'TRUST_VSA_OTHER_RESOURCE',
      {},
    ],
    [
      'for another digest',
      summary({ resourceUri: `oci://registry.example.com/pay/app@${otherDigest}` }),
      'TRUST_VSA_OTHER_RESOURCE',
      {},
    ],
    ['of no resource', summary({ resourceUri: undefined }), 'TRUST_VSA_OTHER_RESOURCE', {}],
    [
      'of a resource outside the pattern',
      summary(),
      'TRUST_VSA_OTHER_RESOURCE',
      { resource: 'staging.example.com/**' },
    ],
    ['by another policy', summary(), 'TRUST_VSA_OTHER_POLICY', { policy: '2'.repeat(64) }],
    [
      'by an unnamed policy',
      summary({ policy: { uri: 'urn:x' } }),
      'TRUST_VSA_OTHER_POLICY',
      { policy: revision },
    ],
    ['too old', summary({ timeVerified: minutes(-24 * 60) }), 'TRUST_VSA_TOO_OLD', {}],
    ['from the future', summary({ timeVerified: minutes(6) }), 'TRUST_VSA_FUTURE', {}],
    ['without a time', summary({ timeVerified: undefined }), 'TRUST_VSA_MALFORMED', {}],
    ['with an invalid time', summary({ timeVerified: '2026-99-99T00:00:00Z' }), 'TRUST_VSA_MALFORMED', {}],
    ['with another result', summary({ verificationResult: 'passed' }), 'TRUST_VSA_MALFORMED', {}],
    ['with a lower level', summary(), 'TRUST_VSA_LEVEL', { levels: ['SLSA_BUILD_LEVEL_3'] }],
    [
      'of an unevaluated level',
      summary({ verifiedLevels: ['SLSA_BUILD_LEVEL_UNEVALUATED'] }),
      'TRUST_VSA_LEVEL',
      { levels: ['SLSA_BUILD_LEVEL_0'] },
    ],
    [
      'without a predicate',
      attested(statementText([], { predicateType: summaryPredicateType })),
      'TRUST_VSA_MALFORMED',
      {},
    ],
  ] as const) {
    const verdict = verdictOn([item], more);
    assert.equal(verdict.outcome, 'deny', name);
    assert.ok(JSON.stringify(verdict.reasons).includes(`"${code}"`), `${name}\n${explainVerdict(verdict)}`);
    assert.doesNotMatch(adviceOf(verdict), /^$/);
  }
  assert.equal(verdictOn([], {}, { unreachable }).outcome, 'undecided');
  assert.equal(verdictOn([summary({ timeVerified: minutes(6) })]).validUntil, minutes(1));
});

test('a summary meets no other requirement, and nothing else meets one for a summary', () => {
  const provenance = attested(statementText(passed));
  assert.equal(verdictOn([provenance, bundle(ours)]).outcome, 'deny');
  const other = policyOf({
    require: { ...demand(), predicateType: 'https://slsa.dev/provenance/v1', summary: undefined } as never,
  });
  assert.equal(decided([summary()], other).outcome, 'deny');
  assert.equal(
    decided([summary()], policyOf({ require: { kind: 'cosign-key', key: ours.public } })).outcome,
    'deny',
  );
});

test('no predicate makes the decision throw, and only the required predicate admits', () => {
  const keys = Object.keys(passed);
  fc.assert(
    fc.property(fc.constantFrom(...keys), fc.jsonValue({ maxDepth: 3 }), (key, value) => {
      const { outcome } = verdictOn([summary({ [key]: value })], {
        policy: revision,
        levels: ['ORG_SCANNED'],
      });
      const ignored = key === 'slsaVersion';
      if (!ignored && JSON.stringify(value) !== JSON.stringify(passed[key as keyof typeof passed]))
        assert.notEqual(outcome, 'undecided');
      else assert.equal(outcome, 'admit');
    }),
    { numRuns: 300 },
  );
});

const folder = mkdtempSync(join(tmpdir(), 'vsa-policy-'));
before(() =>
  cpSync(join(import.meta.dirname, '../evidence/fixtures/keys/ecdsa-p256.pub'), join(folder, 'k.pub')),
);
after(() => rmSync(folder, { recursive: true }));

function load(require: string): ReturnType<typeof loadPolicy> {
  const file = join(folder, 'policy.yaml');
  writeFileSync(
    file,
    `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["**"]\n    require: ${require}\n`,
  );
  return loadPolicy({ paths: [file] });
}

test('a policy requires a summary with `vsa`, and mistakes are reported with their positions', async () => {
  const { policy } = await load(
    `{ vsa: { verifier: "${verifier}", by: { cosign: { key: k.pub } }, policy: "sha256:${revision}", resource: "a.example/**", maxAge: 24h, levels: [SLSA_BUILD_LEVEL_2] } }`,
  );
  const [rule] = policy.rules;
  assert.deepEqual(rule?.require?.kind === 'attestation' ? rule.require.summary : undefined, {
    ...{
      verifier,
      maxAge: 86_400,
      policy: revision,
      resource: 'a.example/**',
      levels: ['SLSA_BUILD_LEVEL_2'],
    },
  });
  const said = JSON.stringify(explainPolicy(policy, 'a.example/b:1', '').reasons);
  assert.match(said, /a verification summary of https:\/\/ci\.example\.com\/gate by the key k\.pub/);
  assert.match(said, /that is at most 1 day old.*by the policy sha256:1111.*SLSA_BUILD_LEVEL_2/);
  await load(
    `{ all: [ { cosign: { key: k.pub } }, { vsa: { verifier: "${verifier}", by: cosign, maxAge: 24h } } ] }`,
  );
  for (const [require, says] of [
    [
      `{ vsa: { verifier: "${verifier}", by: { cosign: { key: k.pub } } } }`,
      /5:\d+ .*the field `maxAge` is missing/,
    ],
    [`{ vsa: { verifier: gate, by: { cosign: { key: k.pub } }, maxAge: 24h } }`, /5:\d+.*verifier.*URI/],
    [`{ vsa: { verifier: "${verifier}", by: cosign, maxAge: 24h } }`, /5:\d+.*there is none/],
    [`{ vsa: { verifier: "${verifier}", by: { cosign: { key: k.pub } }, maxAge: 1y } }`, /5:\d+.*maxAge/],
    [
      `{ vsa: { verifier: "${verifier}", by: { cosign: { key: k.pub } }, maxAge: 1d, resource: "a//b" } }`,
      /5:\d+.*not an image pattern/,
    ],
    [
      `{ vsa: { verifier: "${verifier}", by: { cosign: { key: k.pub } }, maxAge: 1d, policy: abc } }`,
      /5:\d+.*policy/,
    ],
  ] as const)
    await assert.rejects(
      load(require),
      (error) =>
        isPortcullisError(error) && says.test(error.message.replace(/policy\.yaml:(\d+:\d+):/g, '$1 ')),
      require,
    );
});

test('a policy test states a summary by its short name', async () => {
  const said = {
    verifier: { id: verifier },
    timeVerified: '2026-01-31T00:00:00Z',
    resourceUri: 'oci://a.example/b',
  };
  const attest = (verificationResult: string) => [
    { key: 'gate', type: 'vsa', predicate: { ...said, verificationResult } },
  ];
  const file = join(folder, 'test.yaml');
  const policy = {
    ...{ apiVersion: 'portcullis.dev/v1alpha1', kind: 'TrustPolicy' },
    rules: [
      { images: ['**'], require: { vsa: { verifier, by: { cosign: { key: 'k.pub' } }, maxAge: '24h' } } },
    ],
  };
  const tests = {
    ...{
      apiVersion: 'portcullis.dev/v1alpha1',
      kind: 'PolicyTest',
      policy: ['tested.yaml'],
      keys: { gate: 'k.pub' },
    },
    now: '2026-01-31T12:00:00Z',
    cases: [
      { name: 'passed', image: 'a.example/b:1', attested: attest('PASSED'), expect: 'admit' },
      {
        ...{ name: 'failed', image: 'a.example/b:1', attested: attest('FAILED'), expect: 'deny' },
        reason: 'TRUST_VSA_FAILED',
      },
    ],
  };
  writeFileSync(join(folder, 'tested.yaml'), JSON.stringify(policy));
  writeFileSync(file, JSON.stringify(tests));
  const { cases } = await testPolicy({ paths: [file], policy: [], now });
  assert.deepEqual(
    cases.map(({ failures }) => failures),
    [[], []],
  );
});
