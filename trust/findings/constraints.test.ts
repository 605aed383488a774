import assert from 'node:assert/strict';
import { test } from 'node:test';
import { policyOf } from '../evidence/fixtures/fixture-image.ts';
import {
  bundle,
  by,
  decided,
  digest,
  item,
  messageBundle,
  manifestBytes,
  ours,
  platformDigest,
  simple,
  simpleFor,
  statement,
  hex,
  signPredicate,
} from '../evidence/fixtures/sample-evidence.ts';
import type { EvidenceItem } from './types.ts';
import type { Constraints } from '../requirements/constraint-set.ts';
import { constrain } from './constraints.ts';
import { explainVerdict } from '../verdict/explain-verdict.ts';
import type { ProvenFacts, SignatureFinding } from './signature-finding.ts';

const now = new Date('2026-11-20T12:00:00Z');
const reference = 'registry.example.com/pay/app:1';
const right: SignatureFinding = {
  counted: true,
  code: 'TRUST_SIGNATURE_VALID',
  says: 'it is valid',
  names: ['index'],
};

function held(
  constraints: Constraints,
  proven: Partial<ProvenFacts> = {},
  finding: Partial<SignatureFinding> = {},
): SignatureFinding {
  return constrain({ ...right, ...finding, proven: { signer: 'key sha256:aa', ...proven } }, constraints, {
    now,
    reference,
  });
}

const at = (time: string): Partial<ProvenFacts> => ({ signedAt: { time, provenBy: 'time stamp' } });

const table: readonly (readonly [
  name: string,
  finding: SignatureFinding,
  code: string,
  validUntil?: string,
])[] = [
  ['no constraint', held({}), 'TRUST_SIGNATURE_VALID'],
  ['signs: index, the index signed', held({ signs: 'index' }), 'TRUST_SIGNATURE_VALID'],
  ['signs: manifest, the index signed', held({ signs: 'manifest' }), 'TRUST_SIGNATURE_OTHER_PART'],
  ['signs: index, nothing proven', held({ signs: 'index' }, {}, { names: [] }), 'TRUST_SIGNATURE_OTHER_PART'],
  [
    'signs: manifest, both signed',
    held({ signs: 'manifest' }, {}, { names: ['index', 'manifest'] }),
    'TRUST_SIGNATURE_VALID',
  ],
  [
    'an age whose end is later than any Date',
    held({ maxAge: 999_999_999 * 604_800 }, at('2026-11-20T11:00:00Z')),
    'TRUST_SIGNATURE_VALID',
    '+275760-09-13T00:00:00.000Z',
  ],
  [
    'an annotation, exactly',
    held({ annotations: { build: 'ci' } }, { annotations: { build: 'ci' } }),
    'TRUST_SIGNATURE_VALID',
  ],
  [
    'an annotation by pattern',
    held({ annotations: { build: 'ci-*' } }, { annotations: { build: 'ci-7' } }),
    'TRUST_SIGNATURE_VALID',
  ],
  [
    'a pattern is anchored',
    held({ annotations: { build: 'ci-*' } }, { annotations: { build: 'x-ci-7' } }),
    'TRUST_ANNOTATION_UNMET',
  ],
  [
    'another annotation',
    held({ annotations: { build: 'ci' } }, { annotations: { build: 'CI' } }),
    'TRUST_ANNOTATION_UNMET',
  ],
  ['a missing annotation', held({ annotations: { build: '*' } }), 'TRUST_ANNOTATION_UNMET'],
  [
    'an annotation named as a built-in',
    held({ annotations: { constructor: '*' } }, { annotations: {} }),
    'TRUST_ANNOTATION_UNMET',
  ],
  [
    'one of two annotations',
    held({ annotations: { a: '1', b: '2' } }, { annotations: { a: '1', b: '3' } }),
    'TRUST_ANNOTATION_UNMET',
  ],
  [
    'a star never matches a line feed',
    held({ annotations: { a: '*' } }, { annotations: { a: 'x\ny' } }),
    'TRUST_ANNOTATION_UNMET',
  ],
  [
    'young enough',
    held({ maxAge: 3600 }, at('2026-11-20T11:30:00Z')),
    'TRUST_SIGNATURE_VALID',
    '2026-11-20T12:30:00.000Z',
  ],
  ['exactly at the end', held({ maxAge: 1800 }, at('2026-11-20T11:30:00Z')), 'TRUST_SIGNATURE_TOO_OLD'],
  ['too old', held({ maxAge: 60 }, at('2026-11-20T11:30:00Z')), 'TRUST_SIGNATURE_TOO_OLD'],
  ['an age without a proven time', held({ maxAge: 60 }), 'TRUST_TIME_UNPROVEN'],
  ['an invalid time', held({ maxAge: 60 }, at('yesterday')), 'TRUST_TIME_UNPROVEN'],
  [
    'from the future',
    held({ maxAge: 60 }, at('2026-11-20T13:00:00Z')),
    'TRUST_TIME_FUTURE',
    '2026-11-20T12:55:00.000Z',
  ],
  [
    'from a clock that is slightly ahead',
    held({ notBefore: '2026-01-01' }, at('2026-11-20T12:04:00Z')),
    'TRUST_SIGNATURE_VALID',
  ],
  [
    'made before',
    held({ notBefore: '2026-11-20T12:00:00Z' }, at('2026-11-20T11:59:59Z')),
    'TRUST_SIGNATURE_TOO_OLD',
  ],
  [
    'made then',
    held({ notBefore: '2026-11-20T12:00:00Z' }, at('2026-11-20T12:00:00Z')),
    'TRUST_SIGNATURE_VALID',
  ],
  [
    'the name of the image',
    held(
      { signedIdentity: { type: 'matchRepository' } },
      { claimedReference: 'registry.example.com/pay/app' },
    ),
    'TRUST_SIGNATURE_VALID',
  ],
  [
    'another name',
    held(
      { signedIdentity: { type: 'matchRepository' } },
      { claimedReference: 'registry.example.com/web/app' },
    ),
    'TRUST_IDENTITY_OTHER',
  ],
  ['no name', held({ signedIdentity: { type: 'matchRepository' } }), 'TRUST_IDENTITY_UNPROVEN'],
];

for (const [name, finding, code, validUntil] of table) {
  test(`${name}: ${code}`, () => {
    assert.equal(finding.code, code, finding.says);
    assert.equal(finding.counted, code === 'TRUST_SIGNATURE_VALID');
    assert.equal(finding.validUntil, validUntil);
    // A refused signature proves nothing.
    assert.equal(finding.proven === undefined, !finding.counted);
  });
}

test('a finding that does not count is not changed', () => {
  const wrong: SignatureFinding = { counted: false, code: 'TRUST_SIGNATURE_WRONG', says: 'no' };
  assert.equal(constrain(wrong, { maxAge: 1 }, { now, reference }), wrong);
});

test('a maximum age never extends the time for which a finding holds', () => {
  const soon = '2026-11-20T12:01:00.000Z';
  const late = '2026-11-21T12:01:00.000Z';
  const signed = at('2026-11-20T11:30:00Z');
  assert.equal(held({ maxAge: 86_400 }, signed, { validUntil: soon }).validUntil, soon);
  assert.equal(held({ maxAge: 3600 }, signed, { validUntil: late }).validUntil, '2026-11-20T12:30:00.000Z');
});

test('all failures are reported together', () => {
  const { says } = held(
    { signs: 'manifest', annotations: { a: '1' }, maxAge: 5 },
    at('2026-01-01T00:00:00Z'),
  );
  assert.match(says, /signs: manifest.*annotation a must be 1.*younger than 5 s/);
});

function outcome(items: readonly EvidenceItem[], constraints: Constraints): string {
  const verdict = decided(items, policyOf({ require: { ...by(ours), constraints } as never }));
  return `${verdict.outcome} ${explainVerdict(verdict)}`;
}

const payload = (more: object, docker = 'registry.example.com/pay/app'): Buffer => {
  const plain = JSON.parse(
    simpleFor(digest).toString().replace('registry.example.com/pay/app', docker),
  ) as object;
  return Buffer.from(JSON.stringify({ ...plain, ...more }));
};

test('the reason says which digest was signed, and the policy says which counts', () => {
  assert.match(outcome([bundle(ours)], {}), /^admit [^]*names the image's index/);
  assert.match(outcome([bundle(ours, platformDigest)], {}), /^admit [^]*names the platform's manifest/);
  assert.match(
    outcome([bundle(ours, platformDigest)], { signs: 'index' }),
    /^deny [^]*signs: index\) and the signature names the manifest/,
  );
  assert.match(outcome([bundle(ours)], { signs: 'manifest' }), /^deny /);
  assert.match(outcome([bundle(ours), bundle(ours, platformDigest)], { signs: 'manifest' }), /^admit /);
});

test('annotations of both of cosign’s forms are those that were signed', () => {
  assert.match(
    outcome([simple(payload({ optional: { build: 'ci' } }))], { annotations: { build: 'ci' } }),
    /^admit /,
  );
  assert.match(
    outcome([simple(payload({ optional: { build: 7 } }))], { annotations: { build: '7' } }),
    /^deny /,
  );
  const subject = `"subject":[{"digest":{"sha256":"${hex}"},"annotations":{"build":"ci"}}]`;
  const text = `{"_type":"https://in-toto.io/Statement/v1",${subject},${signPredicate},"predicate":{}}`;
  assert.match(outcome([statement(text)], { annotations: { build: 'ci' } }), /^admit /);
  // Annotations beside the digest of another image say nothing about this image.
  const others = text.replace(
    `"annotations":{"build":"ci"}}`,
    `"annotations":{}},{"digest":{"sha256":"${'d'.repeat(64)}"},"annotations":{"build":"ci"}}`,
  );
  assert.match(outcome([statement(others)], { annotations: { build: 'ci' } }), /^deny /);
  // The manifest's own annotations are not signed: they never count.
  assert.match(
    outcome([{ ...bundle(ours), annotations: { build: 'ci' } }], { annotations: { build: 'ci' } }),
    /^deny /,
  );
});

test('annotations belong to the part of the image that the rule requires to be signed', () => {
  const named = (of: string, build: string): string =>
    `{"digest":{"sha256":"${of.slice(7)}"},"annotations":{"build":"${build}"}}`;
  const text = (subjects: string): string =>
    `{"_type":"https://in-toto.io/Statement/v1","subject":[${subjects}],${signPredicate},"predicate":{}}`;
  const both = statement(text(`${named(digest, 'ci')},${named(platformDigest, 'laptop')}`));
  const annotations = { build: 'ci' };
  assert.match(outcome([both], { annotations }), /^admit /);
  assert.match(outcome([both], { signs: 'index', annotations }), /^admit /);
  assert.match(outcome([both], { signs: 'manifest', annotations }), /^deny [^]*must be ci and is "laptop"/);
  assert.match(outcome([both], { signs: 'manifest', annotations: { build: 'laptop' } }), /^admit /);
  const alone = statement(text(named(platformDigest, 'laptop')));
  assert.match(outcome([alone], { annotations: { build: 'laptop' } }), /^admit /);
});

test('the name in cosign’s older form is checked only when the policy requires it', () => {
  const foreignName = simple(payload({}, 'elsewhere.example/app'));
  assert.match(outcome([foreignName], {}), /^admit /);
  assert.match(
    outcome([foreignName], { signedIdentity: { type: 'matchRepository' } }),
    /^deny [^]*made for "elsewhere\.example\/app"/,
  );
  assert.match(
    outcome([simple(simpleFor(digest))], { signedIdentity: { type: 'matchRepository' } }),
    /^admit /,
  );
  assert.match(
    outcome([bundle(ours)], { signedIdentity: { type: 'matchRepository' } }),
    /^deny [^]*carries no name/,
  );
});

test('a key proves no time, so a maximum age is never met', () => {
  assert.match(
    outcome([bundle(ours), simple(payload({ optional: { timestamp: 4_000_000_000 } }))], { maxAge: 60 }),
    /^deny [^]*nothing proves when/,
  );
});

test('a message signature over another manifest is not a signature of this one', () => {
  assert.match(outcome([messageBundle(manifestBytes)], {}), /^deny /);
  assert.match(outcome([item('sigstore-bundle', Buffer.from('{}'))], { annotations: { a: '*' } }), /^deny /);
});
