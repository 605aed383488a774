import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fuzzing } from '../evidence/fixtures/fuzzing.ts';
import { amd64, policyOf } from '../evidence/fixtures/fixture-image.ts';
import {
  bundle,
  by,
  digest,
  dossierOf,
  foreign,
  ours,
  reference,
  second,
  unreachable,
} from '../evidence/fixtures/sample-evidence.ts';
import type { EvidenceItem, Verdict } from '../findings/types.ts';
import type { Requirement, TrustPolicy } from '../requirements/types.ts';
import { mayAdmit } from '../policy/matching.ts';
import { decide } from './decide.ts';
import { distinctSigners } from './distinct-signers.ts';
import { explainVerdict } from './explain-verdict.ts';

const now = new Date('2026-11-20T12:00:00Z');
const later = '2026-11-21T00:00:00.000Z';
const broken = { until: later, reason: 'CVE-2026-1', by: 'ops@example.com' };

function verdictOf(
  policy: TrustPolicy,
  items: readonly EvidenceItem[] = [],
  more: { readonly now?: Date; readonly namespace?: string; readonly lost?: boolean } = {},
): Verdict {
  const dossier = dossierOf(items, more.lost === true ? { unreachable } : {});
  return decide({
    dossier,
    reference,
    namespace: more.namespace ?? 'pay-eu',
    platform: amd64,
    policy,
    now: more.now ?? now,
  });
}

test('break-glass admits an image that the rule would deny, visibly and until its end', () => {
  const policy = policyOf({ require: by(ours), breakGlass: broken });
  const verdict = verdictOf(policy);
  assert.equal(verdict.outcome, 'admit');
  assert.equal(verdict.unverified, true);
  assert.equal(verdict.validUntil, later);
  assert.deepEqual(verdict.exceptions, [
    { kind: 'break-glass', rule: 'policy.yaml:1', wouldBe: 'deny', ...broken },
  ]);
  const text = explainVerdict(verdict);
  assert.match(
    text,
    /BREAK GLASS: rule policy\.yaml:1 denies this image, and it is admitted until 2026-11-21T00:00:00\.000Z: CVE-2026-1/,
  );
  assert.match(text, /- rule policy\.yaml:1 \(\*\*\) is not satisfied/);
  assert.equal(verdictOf(policy, [], { lost: true }).exceptions?.[0]?.wouldBe, 'undecided');
});

test('break-glass that has ended, or whose end cannot be read, is not in force', () => {
  const policy = policyOf({ require: by(ours), breakGlass: broken });
  assert.equal(verdictOf(policy, [], { now: new Date(later) }).outcome, 'deny');
  assert.equal(
    verdictOf(policyOf({ require: by(ours), breakGlass: { ...broken, until: 'never' } })).outcome,
    'deny',
  );
});

test('a satisfied rule needs no exception', () => {
  const verdict = verdictOf(policyOf({ require: by(ours), breakGlass: broken, mode: 'report' }), [
    bundle(ours),
  ]);
  assert.equal(verdict.outcome, 'admit');
  assert.equal(verdict.unverified, false);
  assert.equal(verdict.exceptions, undefined);
  assert.equal(verdict.validUntil, undefined);
});

test('a rule that only reports admits, and says what it would have done', () => {
  const verdict = verdictOf(policyOf({ require: by(ours), mode: 'report' }), [bundle(second)]);
  assert.equal(verdict.outcome, 'admit');
  assert.equal(verdict.unverified, true);
  assert.deepEqual(verdict.exceptions, [{ kind: 'report', rule: 'policy.yaml:1', wouldBe: 'deny' }]);
  assert.match(explainVerdict(verdict), /REPORT ONLY: rule policy\.yaml:1 denies this image/);
});

test('an exception applies only to its own rule: another rule still denies, and so does no matching rule', () => {
  const policy = policyOf({ require: by(ours), breakGlass: broken }, { require: by(second) });
  assert.equal(verdictOf(policy).outcome, 'deny');
  assert.equal(verdictOf(policy).exceptions, undefined);
  assert.equal(verdictOf(policy, [bundle(second)]).outcome, 'admit');
  assert.equal(
    verdictOf(policyOf({ images: ['elsewhere.example/**'], require: by(ours), breakGlass: broken })).outcome,
    'deny',
  );
});

test('an exception does not hide evidence that was altered, nor another digest', () => {
  const policy = policyOf({ require: by(ours), mode: 'report' });
  const altered = { ...dossierOf([]), items: [bundle(ours)] };
  assert.equal(
    decide({ dossier: altered, reference, namespace: '', platform: amd64, policy, now }).outcome,
    'deny',
  );
  const other = `registry.example.com/pay/app@sha256:${'9'.repeat(64)}`;
  assert.equal(
    decide({ dossier: dossierOf([]), reference: other, namespace: '', platform: amd64, policy, now }).outcome,
    'deny',
  );
});

test('before anything is fetched: an exception lifts the refusal', () => {
  const ceiling = { rule: 'r', ceiling: 'web', require: 'signed' } as const;
  assert.equal(
    mayAdmit(policyOf({ require: by(ours), ceiling, breakGlass: broken }), reference, '', now),
    undefined,
  );
});

test('two names of one signer count once in a threshold', () => {
  const twice: Requirement = { kind: 'cosign-key', key: { ...ours.public, name: 'same.pub' } };
  const two = (of: readonly Requirement[]): TrustPolicy =>
    policyOf({ require: { kind: 'threshold', count: 2, of } });
  const same = verdictOf(two([by(ours), twice, by(foreign)]), [bundle(ours)]);
  assert.equal(same.outcome, 'deny');
  assert.match(explainVerdict(same), /2 of 3 requirements: 2 satisfied by 1 distinct signer, 2 needed/);
  assert.equal(
    verdictOf(two([by(ours), twice, by(foreign)]), [bundle(ours), bundle(foreign)]).outcome,
    'admit',
  );
  // Each part may be satisfied by several signers. The test is whether each part can have a different one.
  const either: Requirement = { kind: 'any', of: [by(ours), by(second)] };
  assert.equal(verdictOf(two([either, by(ours)]), [bundle(ours), bundle(second)]).outcome, 'admit');
  assert.equal(verdictOf(two([either, by(ours)]), [bundle(ours)]).outcome, 'deny');
  assert.equal(verdictOf(two([either, by(ours)]), [bundle(ours)], { lost: true }).outcome, 'undecided');
});

test('a rule that denies does so whatever is proven, unless break-glass is in force', () => {
  const policy = policyOf(
    { require: by(ours) },
    { deny: 'withdrawn', images: ['registry.example.com/pay/app:1'] },
  );
  const verdict = verdictOf(policy, [bundle(ours)]);
  assert.equal(verdict.outcome, 'deny');
  assert.match(explainVerdict(verdict), /denies: withdrawn/);
  assert.equal(mayAdmit(policy, reference, '', now)?.code, 'TRUST_NEVER_ADMITS');
  assert.equal(verdictOf(policyOf({ deny: 'withdrawn', breakGlass: broken })).outcome, 'admit');
});

test('the distinct signers are a maximum matching', () => {
  const naive = (parts: readonly (readonly string[])[], used: readonly string[] = []): number => {
    const [first, ...rest] = parts;
    if (first === undefined) return 0;
    const without = naive(rest, used);
    return Math.max(
      without,
      ...first.filter((one) => !used.includes(one)).map((one) => 1 + naive(rest, [...used, one])),
    );
  };
  fc.assert(
    fc.property(
      fc.array(fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 4 }), { maxLength: 5 }),
      (parts) => {
        assert.equal(distinctSigners(parts), naive(parts));
      },
    ),
    fuzzing(5, 300),
  );
});

const requirement = fc.constantFrom(by(ours), by(second), by(foreign));
const parts = {
  images: fc.constantFrom(
    ['**'],
    ['registry.example.com/pay/**'],
    ['elsewhere.example/**'],
    ['registry.example.com/pay/app:1'],
  ),
  except: fc.constantFrom(['registry.example.com/**'], ['registry.example.com/pay/*:2']),
  require: requirement,
  namespaces: fc.constantFrom(['pay-*'], ['web']),
  mode: fc.constant('report' as const),
  breakGlass: fc.constant(broken),
  ceiling: fc.constantFrom({ rule: 'r', ceiling: 'privileged' }, { rule: 'r', ceiling: 'web' }),
};
const clusterRule = fc.record(
  { ...parts, allowUnverified: fc.boolean() },
  { requiredKeys: ['images', 'require'] },
);
const narrowingRule = fc.record(
  { ...parts, narrows: fc.constant(['pay-*']) },
  { requiredKeys: ['images', 'require', 'narrows'] },
);

test('a document for namespaces never widens: images that it admits are also admitted without it, and it only adds ceilings', () => {
  fc.assert(
    fc.property(
      fc.array(clusterRule, { maxLength: 3 }),
      fc.array(narrowingRule, { minLength: 1, maxLength: 3 }),
      fc.subarray([bundle(ours), bundle(second), bundle(foreign)]),
      fc.constantFrom('pay-eu', 'web', ''),
      (cluster, narrowing, items, namespace) => {
        const without = verdictOf(policyOf(...cluster), items, { namespace });
        const both = verdictOf(policyOf(...cluster, ...narrowing), items, { namespace });
        if (both.outcome !== 'admit') return;
        assert.equal(without.outcome, 'admit', explainVerdict(both));
        for (const { ceiling } of without.ceilings)
          assert.ok(both.ceilings.some((one) => one.ceiling === ceiling));
      },
    ),
    fuzzing(7, 2000),
  );
});

test('a document for namespaces admits nothing by itself', () => {
  const verdict = verdictOf(policyOf({ require: by(ours), narrows: ['pay-*'] }), [bundle(ours)]);
  assert.equal(verdict.outcome, 'deny');
  assert.match(explainVerdict(verdict), /such a document only narrows what others admit/);
  const both = verdictOf(policyOf({ allowUnverified: true }, { require: by(ours), narrows: ['pay-*'] }), [
    bundle(ours),
  ]);
  assert.equal(both.outcome, 'admit');
  assert.equal(both.unverified, false);
  assert.deepEqual(both.digest, digest);
});
