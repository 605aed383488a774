import assert from 'node:assert/strict';
import { test } from 'node:test';
import { policyOf } from '../evidence/fixtures/fixture-image.ts';
import {
  bundle,
  by,
  decided,
  foreign,
  otherDigest,
  ours,
  reference,
} from '../evidence/fixtures/sample-evidence.ts';
import type { Verdict } from '../findings/types.ts';
import { adviceOf } from './advice.ts';

const signedByOurs = policyOf({ require: by(ours) });

test('if no rule matches, the advice is to add a rule and not to sign', () => {
  const advice = adviceOf(decided([], policyOf({ images: ['elsewhere.example.com/**'], require: by(ours) })));
  assert.match(advice, /^add a rule/);
  assert.ok(advice.includes(`portcullis policy explain ${reference} --policy FILE`), advice);
  assert.doesNotMatch(advice, /sign/);
});

test('a namespace that a shell would read otherwise is not part of a command to copy', () => {
  const verdict = decided([], policyOf({ images: ['elsewhere.example.com/**'], require: by(ours) }));
  assert.match(adviceOf({ ...verdict, namespace: 'team-a' }), / --namespace team-a /);
  assert.doesNotMatch(adviceOf({ ...verdict, namespace: 'x; reboot' }), /reboot/);
});

const cases: readonly (readonly [name: string, verdict: () => Verdict, says: RegExp])[] = [
  ['an image without a signature', () => decided([], signedByOurs), /^sign the image as the rule requires/],
  [
    'a signature of another key',
    () => decided([bundle(foreign)], signedByOurs),
    /with a key that the rule names/,
  ],
  [
    'a signature of another image',
    () => decided([bundle(ours, otherDigest)], signedByOurs),
    /^sign this digest/,
  ],
  ['a rule that denies', () => decided([bundle(ours)], policyOf({ deny: 'retired' })), /^use another image/],
];
for (const [name, verdict, says] of cases)
  test(`${name} has its own advice`, () => assert.match(adviceOf(verdict()), says));

const codes: readonly (readonly [code: string, says: RegExp])[] = [
  ['TRUST_SIGNATURE_EXPIRED', /no longer valid/],
  ['TRUST_KEY_REVOKED', /not revoked/],
  ['TRUST_TUF_ROLLBACK', /old metadata/],
  ['TRUST_CEL_FALSE', /portcullis attest/],
  ['TRUST_ENTITLEMENTS_UNSIGNED', /--type entitlements/],
];
for (const [code, says] of codes)
  test(`${code} decides the advice, also beside a signature of another key`, () => {
    const other = { counted: false, text: 'b', code: 'TRUST_SIGNATURE_OTHER_KEY' };
    const reasons = { counted: false, text: 'a', children: [other, { counted: false, text: 'c', code }] };
    assert.match(adviceOf({ ...decided([], signedByOurs), reasons }), says);
  });

test('reasons that counted, and rules that do not match, decide nothing', () => {
  const revoked = { counted: false, text: 'b', code: 'TRUST_KEY_REVOKED' };
  const reasons = {
    counted: false,
    text: 'a',
    children: [
      { counted: true, text: 'met', children: [revoked] },
      { counted: false, text: 'other', code: 'TRUST_RULE_OTHER', children: [revoked] },
    ],
  };
  assert.match(adviceOf({ ...decided([], signedByOurs), reasons }), /^sign the image as the rule requires/);
});

test('the advice for a source of evidence that does not answer is to try again', () => {
  const verdict = { ...decided([], signedByOurs), outcome: 'undecided' as const };
  assert.match(adviceOf(verdict), /try again$/);
});
