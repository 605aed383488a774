import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { assertNearLinearWork } from '../../test/fixtures/cost.ts';
import { amd64, policyOf } from '../evidence/fixtures/fixture-image.ts';
import { bundle, by, dossierOf, ours } from '../evidence/fixtures/sample-evidence.ts';
import { sealDossier } from '../evidence/dossier.ts';
import type { Verdict } from '../findings/types.ts';
import type { TrustRule } from '../requirements/types.ts';
import { explainPolicy } from '../policy/explain-policy.ts';
import { matchRules, mayAdmit } from '../policy/matching.ts';
import { normaliseReference } from '../requirements/named-images.ts';
import { decide } from './decide.ts';
import { explainVerdict } from './explain-verdict.ts';

const dossier = dossierOf([bundle(ours)]);
const { digest, manifestDigest } = dossier;
const other = `sha256:${'9'.repeat(64)}`;
const name = 'registry.example.com/pay/app';
const open: Partial<TrustRule> = { images: ['**'], allowUnverified: true };
const signed: Partial<TrustRule> = { images: ['**'], require: by(ours) };
const denying = (...images: readonly string[]): Partial<TrustRule> => ({ images, deny: 'withdrawn' });

function verdictOn(reference: string, ...rules: readonly Partial<TrustRule>[]): Verdict {
  return decide({
    ...{ dossier, reference, namespace: '', platform: amd64 },
    ...{ policy: policyOf(...rules), now: new Date() },
  });
}

test('the image has an index and a manifest', () => assert.notEqual(digest, manifestDigest));

for (const admitting of [open, signed])
  test(`a denied digest is denied under each reference, beside ${admitting === open ? 'allow' : 'require'}`, () => {
    for (const denied of [digest, manifestDigest])
      for (const reference of [
        `${name}:1`,
        `${name}@${digest}`,
        `${name}@${manifestDigest}`,
        `${name}:2@${digest}`,
      ]) {
        const verdict = verdictOn(reference, admitting, denying(`${name}@${denied}`));
        assert.equal(verdict.outcome, 'deny', `${reference} ${denied}`);
        assert.match(explainVerdict(verdict), /denies: withdrawn/);
      }
  });

const rows: readonly (readonly [what: string, rule: Partial<TrustRule>, outcome: Verdict['outcome']])[] = [
  ['another digest', denying(`${name}@${other}`), 'admit'],
  ['the digest in another repository', denying(`registry.example.com/other@${digest}`), 'admit'],
  ['the digest in any repository', denying(`registry.example.com/**@${digest}`), 'deny'],
  [
    'the digest under another name of the registry',
    denying(`registry.example.com:443/pay/app@${digest}`),
    'deny',
  ],
  ['the digest, except this tag', { ...denying(`${name}@${digest}`), except: [`${name}:1`] }, 'admit'],
  ['all tags except this one', { ...denying(name), except: [`${name}:1`] }, 'admit'],
  ['the digest, only as a report', { ...denying(`${name}@${digest}`), mode: 'report' }, 'admit'],
];
for (const [what, rule, outcome] of rows)
  test(`a tag, and a rule that denies ${what}: ${outcome}`, () =>
    assert.equal(verdictOn(`${name}:1`, open, rule).outcome, outcome));

test('an image that only a denied digest names is denied for this reason', () => {
  const verdict = verdictOn(`${name}:1`, denying(`${name}@${digest}`));
  assert.equal(verdict.outcome, 'deny');
  assert.match(explainVerdict(verdict), /denies: withdrawn/);
});

for (const [what, rule, outcome] of [
  ['a digest of sha256', denying(`${name}@${other}`), 'deny'],
  ['a digest of sha256 in another repository', denying(`registry.example.com/b@${other}`), 'admit'],
  ['a digest of sha256, except in this repository', { ...denying(`**@${other}`), except: [name] }, 'admit'],
] as const)
  test(`an image that is named by a digest of sha512, and a rule that denies ${what}: ${outcome}`, () => {
    const sha512 = `sha512:${'1'.repeat(128)}`;
    const unsealed = { ...dossier, reference: `${name}@${sha512}`, digest: sha512, manifestDigest: sha512 };
    const verdict = decide({
      ...{ dossier: sealDossier(unsealed), reference: `${name}@${sha512}`, namespace: '', platform: amd64 },
      ...{ policy: policyOf(open, rule), now: new Date() },
    });
    assert.equal(verdict.outcome, outcome);
    if (outcome === 'deny') assert.match(explainVerdict(verdict), /name the image by its sha256 digest/);
  });

for (const admitting of [open, signed])
  test(`before anything is fetched, a digest of sha512 is denied as in the verdict, beside ${admitting === open ? 'allow' : 'require'}`, () => {
    const policy = policyOf(admitting, denying(`${name}@${other}`));
    const reference = `${name}@sha512:${'1'.repeat(128)}`;
    const { outcome, reasons } = explainPolicy(policy, reference, '');
    assert.equal(outcome, 'denied');
    assert.match(JSON.stringify(reasons), /name the image by its sha256 digest/);
    assert.match(
      JSON.stringify(mayAdmit(policy, reference, '', new Date())),
      /TRUST_NEVER_ADMITS.*name the image by its sha256 digest/,
    );
    assert.equal(mayAdmit(policy, `${name}@${digest}`, '', new Date()), undefined);
  });

test('the explanation of a policy names the digests that are denied, because it does not know where a tag leads', () => {
  const rules = [open, denying(`${name}@${digest}`, `${name}@${other}`, `registry.example.com/b@${digest}`)];
  const { reasons } = explainPolicy(policyOf(...rules), `${name}:1`, '');
  const sentences = (reasons.children ?? []).map(({ text }) => text).join('\n');
  assert.match(sentences, new RegExp(`it denies the image if its digest is ${digest} or ${other}$`, 'mu'));
});

for (const [what, digests] of [
  ['whose digest is known', [digest, manifestDigest]],
  ['whose digest is not known yet', []],
] as const)
  test(`the cost of an image ${what} grows with the denied digests, also beyond the patterns that are kept`, () =>
    assertNearLinearWork(
      'n denied digests',
      (n) => {
        const denied = Array.from(
          { length: n },
          (_, index) => `docker.io/a/b@sha256:${createHash('sha256').update(String(index)).digest('hex')}`,
        );
        const policy = policyOf(open, denying(...denied));
        const reference = normaliseReference('docker.io/a/b:1');
        return () => matchRules(policy, reference, '', digests);
      },
      { n: 4_000 },
    ));
