import assert from 'node:assert/strict';
import { test } from 'node:test';
import { amd64, now, policyOf } from '../evidence/fixtures/fixture-image.ts';
import {
  bundle,
  by,
  decided,
  digest,
  dossierOf,
  foreign,
  otherDigest,
  ours,
  platformDigest,
  reference,
  second,
  simple,
  simpleFor,
  unreachable,
} from '../evidence/fixtures/sample-evidence.ts';
import type { TrustPolicy } from '../requirements/types.ts';
import type { Verdict } from '../findings/types.ts';
import { decideUnseen } from './decide-unseen.ts';
import { decide } from './decide.ts';
import { explainVerdict } from './explain-verdict.ts';

const table: readonly (readonly [
  name: string,
  verdict: () => Verdict,
  outcome: Verdict['outcome'],
  says: RegExp,
])[] = [
  [
    'all of two keys, one signed',
    () => decided([bundle(ours)], policyOf({ require: { kind: 'all', of: [by(ours), by(second)] } })),
    'deny',
    /all of 2 requirements: 1 satisfied, 2 needed/,
  ],
  [
    'all of nothing, which no policy file can say',
    () => decided([bundle(ours)], policyOf({ require: { kind: 'all', of: [] } })),
    'deny',
    /all of 0 requirements: 0 satisfied/,
  ],
  [
    'none of nothing',
    () => decided([bundle(ours)], policyOf({ require: { kind: 'threshold', count: 0, of: [] } })),
    'deny',
    /0 of 0 requirements: 0 satisfied/,
  ],
  [
    'all of two keys, both signed',
    () =>
      decided(
        [bundle(ours), bundle(second)],
        policyOf({ require: { kind: 'all', of: [by(ours), by(second)] } }),
      ),
    'admit',
    /2 satisfied/,
  ],
  [
    'any of two keys, one signed',
    () => decided([bundle(second)], policyOf({ require: { kind: 'any', of: [by(ours), by(second)] } })),
    'admit',
    /any of 2 requirements: 1 satisfied/,
  ],
  [
    'two of three keys, two signed',
    () =>
      decided(
        [bundle(ours), simple(simpleFor(digest), foreign)],
        policyOf({ require: { kind: 'threshold', count: 2, of: [by(ours), by(second), by(foreign)] } }),
      ),
    'admit',
    /2 of 3 requirements: 2 satisfied/,
  ],
  [
    'two of three keys, one signed twice',
    () =>
      decided(
        [bundle(ours), simple(simpleFor(digest))],
        policyOf({ require: { kind: 'threshold', count: 2, of: [by(ours), by(second), by(foreign)] } }),
      ),
    'deny',
    /1 satisfied, 2 needed/,
  ],
  [
    'two rules, one satisfied',
    () => decided([bundle(ours)], policyOf({ require: by(ours) }, { require: by(second) })),
    'deny',
    /2 rules match and each must admit: 1 does/,
  ],
  [
    'two rules, one satisfied, the other undecided',
    () => decided([bundle(ours)], policyOf({ require: by(ours) }, { require: by(second) }), { unreachable }),
    'undecided',
    /cannot be decided/,
  ],
  [
    'no rule matches',
    () => decided([bundle(ours)], policyOf({ images: ['elsewhere.example/**'], require: by(ours) })),
    'deny',
    /no rule of the policy matches/,
  ],
  ['an empty policy', () => decided([bundle(ours)], policyOf()), 'deny', /no rule of the policy matches/],
  [
    'unverified, and nothing else matches',
    () => decided([], policyOf({ allowUnverified: true })),
    'admit',
    /nothing was proven/,
  ],
  [
    'unverified, and a rule that is not satisfied',
    () => decided([], policyOf({ allowUnverified: true }, { require: by(ours) })),
    'deny',
    /no signature was found/,
  ],
  [
    'another namespace',
    () => decided([bundle(ours)], policyOf({ namespaces: ['pay-*'], require: by(ours) }), {}, 'web'),
    'deny',
    /for the namespaces pay-\*, not for "web"/,
  ],
  [
    'the namespace of the rule',
    () => decided([bundle(ours)], policyOf({ namespaces: ['pay-*'], require: by(ours) })),
    'admit',
    /in the namespace "pay-eu"/,
  ],
  [
    'no known namespace',
    () => decided([bundle(ours)], policyOf({ namespaces: ['*'], require: by(ours) }), {}, ''),
    'deny',
    /the namespace is not known/,
  ],
  [
    'signed entitlements demanded',
    () =>
      decided(
        [bundle(ours)],
        policyOf({ require: by(ours), ceiling: { rule: 'r', ceiling: 'web', require: 'signed' } }),
      ),
    'deny',
    /entitlements signed by the publisher \(entitlements.require: signed\): no signer that the rule trusts has signed any/,
  ],
  [
    'signed entitlements demanded of the unverified',
    () =>
      decided(
        [],
        policyOf({ allowUnverified: true, ceiling: { rule: 'r', ceiling: 'web', require: 'signed' } }),
      ),
    'deny',
    /requires entitlements/,
  ],
  [
    'a rule without a requirement',
    () => decided([bundle(ours)], policyOf({})),
    'deny',
    /requires nothing and allows nothing/,
  ],
  [
    'a stored dossier that was altered',
    () =>
      decide({
        dossier: { ...dossierOf([]), items: [bundle(ours)] },
        reference,
        namespace: '',
        platform: amd64,
        policy: policyOf({ require: by(ours) }),
        now,
      }),
    'deny',
    /evidence was altered/,
  ],
  [
    'a reference of another digest',
    () =>
      decide({
        dossier: dossierOf([bundle(ours)]),
        reference: `registry.example.com/pay/app@${otherDigest}`,
        namespace: '',
        platform: amd64,
        policy: policyOf({ require: by(ours) }),
        now,
      }),
    'deny',
    /names sha256:c/,
  ],
  [
    'a reference of the platform digest',
    () =>
      decide({
        dossier: dossierOf([bundle(ours)]),
        reference: `registry.example.com/pay/app@${platformDigest}`,
        namespace: '',
        platform: amd64,
        policy: policyOf({ require: by(ours) }),
        now,
      }),
    'admit',
    /admitted/,
  ],
  [
    'a reference that cannot be read',
    () =>
      decide({
        dossier: dossierOf([bundle(ours)]),
        reference: 'UPPER CASE',
        namespace: '',
        platform: amd64,
        policy: policyOf({ require: by(ours) }),
        now,
      }),
    'deny',
    /cannot be read/,
  ],
  [
    'the same digest under a name that no rule matches',
    () =>
      decide({
        dossier: dossierOf([bundle(ours)]),
        reference: 'registry.example.com/web/app:1',
        namespace: '',
        platform: amd64,
        policy: policyOf({ images: ['registry.example.com/pay/**'], require: by(ours) }),
        now,
      }),
    'deny',
    /no rule of the policy matches registry\.example\.com\/web\/app:1/,
  ],
];

for (const [name, verdict, outcome, says] of table) {
  test(`${name}: ${outcome}`, () => {
    const result = verdict();
    assert.equal(result.outcome, outcome, explainVerdict(result));
    assert.equal(result.reasons.counted, outcome === 'admit');
    assert.match(explainVerdict(result), says);
  });
}

test('the ceilings are those of the rules that admitted; a denial has none', () => {
  const policy = policyOf(
    { require: by(ours), ceiling: { rule: 'one', ceiling: 'web' } },
    { require: by(ours), ceiling: { rule: 'two', ceiling: 'restricted' } },
    { allowUnverified: true, ceiling: { rule: 'three', ceiling: 'privileged' } },
  );
  const admitted = decided([bundle(ours)], policy);
  assert.deepEqual(
    admitted.ceilings.map(({ ceiling }) => ceiling),
    ['web', 'restricted'],
  );
  assert.equal(admitted.unverified, false);
  assert.deepEqual(decided([], policy).ceilings, []);
  assert.equal(decided([], policyOf({ allowUnverified: true })).unverified, true);
});

test('a verdict replays byte for byte from what was stored', () => {
  const input = {
    dossier: dossierOf([bundle(ours), simple(simpleFor(otherDigest))], { unreachable }),
    reference,
    namespace: 'a',
    platform: amd64,
    now,
  };
  const policy = policyOf({ require: by(ours) });
  const stored = {
    ...(JSON.parse(JSON.stringify(input)) as typeof input),
    now,
    policy: JSON.parse(JSON.stringify(policy)) as TrustPolicy,
  };
  assert.equal(JSON.stringify(decide(stored)), JSON.stringify(decide({ ...input, policy })));
});

test('the verdict id depends on namespace and policy, not on the time', () => {
  const input = {
    dossier: dossierOf([bundle(ours)]),
    reference,
    namespace: 'a',
    platform: amd64,
    policy: policyOf({ require: by(ours) }),
    now,
  };
  const first = decide(input);
  assert.equal(decide({ ...input, now: new Date(0) }).id, first.id);
  assert.notEqual(decide({ ...input, namespace: 'b' }).id, first.id);
  assert.notEqual(decide({ ...input, policy: { ...input.policy, revision: 'x' } }).id, first.id);
});

test('before anything is fetched: only a reference that no rule can admit already has a verdict', () => {
  const input = { reference, namespace: '', platform: amd64, now };
  assert.equal(decideUnseen({ ...input, policy: policyOf({ require: by(ours) }) }), undefined);
  const unseen = decideUnseen({
    ...input,
    policy: policyOf({ images: ['elsewhere.example/**'], require: by(ours) }),
  });
  assert.equal(unseen?.outcome, 'deny');
  assert.match(
    explainVerdict(unseen),
    /^- registry\.example\.com\/pay\/app:1 \(namespace not known\) is denied\n/,
  );
  const ceiling = { rule: 'r', ceiling: 'web', require: 'signed' } as const;
  assert.equal(decideUnseen({ ...input, policy: policyOf({ require: by(ours), ceiling }) }), undefined);
  const nobodySigns = policyOf({ allowUnverified: true, ceiling });
  assert.equal(decideUnseen({ ...input, policy: nobodySigns })?.outcome, 'deny');
});
