import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import fc from 'fast-check';
import { fuzzing } from '../evidence/fixtures/fuzzing.ts';
import { now, policyOf } from '../evidence/fixtures/fixture-image.ts';
import {
  bundle,
  decided,
  foreign,
  hex,
  ours,
  second,
  unreachable,
  withoutBytes,
} from '../evidence/fixtures/sample-evidence.ts';
import type { AttestationRequirement, Requirement } from '../requirements/types.ts';
import type { EvidenceItem, Verdict } from '../findings/types.ts';
import { explainVerdict } from '../verdict/explain-verdict.ts';
import { loadCel } from './cel-loaded.ts';
import {
  attested,
  bareEnvelope,
  demand,
  envelope,
  provenanceType,
  statementText,
} from './fixtures/sample-attestations.ts';

before(() => loadCel());

function verdictOn(
  items: readonly EvidenceItem[],
  require: Requirement = demand(),
  parts: Parameters<typeof decided>[2] = {},
): Verdict {
  return decided(items, policyOf({ require }), parts);
}

const platform = 'b'.repeat(64);
const digestOf = (sha256: string) => ({ digest: { sha256 } });
const byKey = (
  key: typeof ours,
  constraints?: AttestationRequirement['constraints'],
): AttestationRequirement['by'] => ({
  kind: 'cosign-key',
  key: key.public,
  ...(constraints === undefined ? {} : { constraints }),
});
const deep = (levels: number): string => `${'['.repeat(levels)}${']'.repeat(levels)}`;

const table: readonly (readonly [
  name: string,
  verdict: () => Verdict,
  outcome: Verdict['outcome'],
  says: RegExp,
])[] = [
  [
    'a bundle',
    () => verdictOn([attested(statementText({}))]),
    'admit',
    /1 attestation was found, and it counts/,
  ],
  ['a bare envelope', () => verdictOn([envelope(statementText({}))]), 'admit', /names the image's index/],
  [
    'a statement of version 0.1',
    () => verdictOn([attested(statementText({}, { _type: 'https://in-toto.io/Statement/v0.1' }))]),
    'admit',
    /./,
  ],
  [
    'about the platform’s manifest',
    () => verdictOn([attested(statementText({}, { subject: [digestOf(platform)] }))]),
    'admit',
    /platform's manifest/,
  ],
  [
    'one of many subjects',
    () =>
      verdictOn([attested(statementText({}, { subject: [digestOf('d'.repeat(64)), digestOf(platform)] }))]),
    'admit',
    /./,
  ],
  [
    'two signatures, one of them by our key',
    () => verdictOn([envelope(statementText({}), [foreign, ours])]),
    'admit',
    /./,
  ],
  ['none', () => verdictOn([]), 'deny', /no attestation was found/],
  [
    'no attestation, and an unreachable source',
    () => verdictOn([], demand(), { unreachable }),
    'undecided',
    /could not be reached/,
  ],
  ['a signature of the image only', () => verdictOn([bundle(ours)]), 'deny', /no attestation was found/],
  [
    'an attestation, but a signature is required',
    () => verdictOn([attested(statementText({}))], byKey(ours)),
    'deny',
    /no signature was found/,
  ],
  ['by another key', () => verdictOn([envelope(statementText({}), [foreign])]), 'deny', /signature/],
  [
    'of another type',
    () => verdictOn([attested(statementText({}, { predicateType: 'https://example.com/x' }))]),
    'deny',
    /it is of the type "https:\/\/example\.com\/x"/,
  ],
  [
    'of a type with an additional slash',
    () => verdictOn([attested(statementText({}, { predicateType: `${provenanceType}/` }))]),
    'deny',
    /of the type/,
  ],
  [
    'about another image',
    () => verdictOn([attested(statementText({}, { subject: [digestOf('d'.repeat(64))] }))]),
    'deny',
    /another digest/,
  ],
  [
    'the index only, but the manifest is required',
    () => verdictOn([attested(statementText({}))], demand([], { constraints: { signs: 'manifest' } })),
    'deny',
    /signs: manifest/,
  ],
  [
    'the manifest, which is required',
    () =>
      verdictOn(
        [attested(statementText({}, { subject: [digestOf(platform)] }))],
        demand([], { by: byKey(ours, { signs: 'manifest' }) }),
      ),
    'admit',
    /./,
  ],
  [
    'an age that nothing proves',
    () => verdictOn([attested(statementText({}))], demand([], { constraints: { maxAge: 60 } })),
    'deny',
    /nothing proves when/,
  ],
  [
    'annotations that are signed',
    () =>
      verdictOn(
        [attested(statementText({}, { subject: [{ ...digestOf(platform), annotations: { env: 'prod' } }] }))],
        demand([], { constraints: { annotations: { env: 'prod' } } }),
      ),
    'admit',
    /./,
  ],
  [
    'annotations of the index, where the manifest must be signed',
    () =>
      verdictOn(
        [
          attested(
            statementText(
              {},
              {
                subject: [{ ...digestOf(hex), annotations: { env: 'prod' } }, digestOf(platform)],
              },
            ),
          ),
        ],
        demand([], { by: byKey(ours, { signs: 'manifest' }), constraints: { annotations: { env: 'prod' } } }),
      ),
    'deny',
    /annotation env/,
  ],
  [
    'annotations that are not signed',
    () =>
      verdictOn([attested(statementText({}))], demand([], { constraints: { annotations: { env: 'prod' } } })),
    'deny',
    /annotation env/,
  ],
  [
    'no in-toto payload',
    () => verdictOn([attested(statementText({}), 'text/plain')]),
    'deny',
    /its payload is "text\/plain"/,
  ],
  [
    'a sha512 subject only',
    () => verdictOn([attested(statementText({}, { subject: [{ digest: { sha512: 'a'.repeat(128) } }] }))]),
    'deny',
    /names no sha256 digest/,
  ],
  ['no subject', () => verdictOn([attested(statementText({}, { subject: [] }))]), 'deny', /names no subject/],
  [
    'upper-case hex',
    () => verdictOn([attested(statementText({}, { subject: [digestOf('A'.repeat(64))] }))]),
    'deny',
    /no sha256 digest/,
  ],
  [
    'too many subjects',
    () =>
      verdictOn([
        attested(statementText({}, { subject: Array.from({ length: 1001 }, () => digestOf(platform)) })),
      ]),
    'deny',
    /more than 1000 subjects/,
  ],
  [
    'a key that occurs twice',
    () => verdictOn([attested(statementText({}).replace('"predicate":{}', '"predicate":{"a":1,"a":2}'))]),
    'deny',
    /contains the key "a" twice/,
  ],
  [
    'NaN',
    () => verdictOn([attested(statementText({}).replace('"predicate":{}', '"predicate":{"a":NaN}'))]),
    'deny',
    /not JSON/,
  ],
  [
    'deep nesting',
    () => verdictOn([attested(statementText({}).replace('"predicate":{}', `"predicate":${deep(100_000)}`))]),
    'deny',
    /nested deeper/,
  ],
  ['a byte order mark', () => verdictOn([attested(`\uFEFF${statementText({})}`)]), 'deny', /not JSON/],
  [
    'another version of statements',
    () => verdictOn([attested(statementText({}, { _type: 'https://in-toto.io/Statement/v2' }))]),
    'deny',
    /version 1 or 0\.1/,
  ],
  [
    'nine signatures',
    () =>
      verdictOn([
        envelope(
          statementText({}),
          Array.from({ length: 9 }, () => ours),
        ),
      ]),
    'deny',
    /1 to 8 signatures/,
  ],
  ['no signature', () => verdictOn([envelope(statementText({}), [])]), 'deny', /1 to 8 signatures/],
  [
    'bytes that were changed',
    () => verdictOn([{ ...attested(statementText({})), bytes: 'e30=' }]),
    'deny',
    /its bytes have the digest/,
  ],
  [
    'bytes that are missing',
    () => verdictOn([withoutBytes(attested(statementText({})))]),
    'deny',
    /its bytes are missing/,
  ],
  [
    'an item that could not be read',
    () => verdictOn([{ ...attested(statementText({})), problem: 'it is too large' }]),
    'deny',
    /it is too large/,
  ],
  [
    'an expression that is true',
    () => verdictOn([attested(statementText({ a: 1 }))], demand(['predicate.a == 1'])),
    'admit',
    /its expression is true/,
  ],
  [
    'two expressions, one of them false',
    () => verdictOn([attested(statementText({ a: 1 }))], demand(['predicate.a == 1', 'predicate.a == 2'])),
    'deny',
    /"predicate\.a == 2" is false/,
  ],
  [
    'an expression that cannot be evaluated',
    () => verdictOn([attested(statementText({ a: 1 }))], demand(['predicate.b == 1'])),
    'deny',
    /cannot be evaluated over it: field not found: b/,
  ],
  [
    'an expression that is neither true nor false',
    () => verdictOn([attested(statementText({ a: 1 }))], demand(['predicate.a'])),
    'deny',
    /neither true nor false/,
  ],
  [
    'a text that is not an expression',
    () => verdictOn([attested(statementText({ a: 1 }))], demand(['predicate.'])),
    'deny',
    /but "predicate\." is not a valid expression/,
  ],
  [
    'an expression over image, signer and time',
    () =>
      verdictOn(
        [attested(statementText({ at: '2026-01-01T00:00:00Z' }))],
        demand([
          'image.registry == "registry.example.com" && image.repository == "pay/app" && image.tag == "1" && image.digest == "sha256:" + subject[0].digest.sha256 && signer.startsWith("key sha256:") && timestamp(predicate.at) < now',
        ]),
      ),
    'admit',
    /./,
  ],
  [
    'no predicate',
    () => verdictOn([attested(statementText(undefined))], demand(['predicate == null'])),
    'admit',
    /./,
  ],
  [
    'the second of two counts',
    () =>
      verdictOn(
        [attested(statementText({ a: 1 })), attested(statementText({ a: 2 }))],
        demand(['predicate.a == 2']),
      ),
    'admit',
    /2 attestations were found, and 1 of them counts/,
  ],
  [
    'two of two signers',
    () =>
      verdictOn([envelope(statementText({})), envelope(statementText({}), [second])], {
        kind: 'threshold',
        count: 2,
        of: [demand(), demand([], { by: byKey(second) })],
      }),
    'admit',
    /2 satisfied/,
  ],
  [
    'one signer in two statements',
    () =>
      verdictOn([envelope(statementText({})), attested(statementText({ a: 1 }))], {
        kind: 'threshold',
        count: 2,
        of: [demand(), demand(['true'])],
      }),
    'deny',
    /2 satisfied by 1 distinct signer/,
  ],
];

for (const [name, verdict, outcome, says] of table) {
  test(`attestation: ${name}: ${outcome}`, () => {
    const given = verdict();
    assert.equal(given.outcome, outcome, explainVerdict(given));
    assert.match(explainVerdict(given), says);
  });
}

test('an answer that depends on the time expires', () => {
  const timeless = verdictOn([attested(statementText({}))], demand(['true']));
  assert.equal(timeless.validUntil, undefined);
  const timely = verdictOn(
    [attested(statementText({ at: '2026-01-01T00:00:00Z' }))],
    demand(['timestamp(predicate.at) < now']),
  );
  assert.equal(timely.validUntil, new Date(now.getTime() + 60_000).toISOString());
});

test('no content of an envelope throws, takes long, or admits an unsigned statement', () => {
  const json = fc.json({ maxDepth: 6 });
  const text = fc.oneof(
    json,
    fc.string(),
    fc.constantFrom(deep(50), '{"payload":', 'null', '{}', statementText({})),
  );
  const parts = fc.record(
    {
      payloadType: fc.oneof(fc.constant('application/vnd.in-toto+json'), fc.string()),
      payload: fc.oneof(
        text.map((one) => Buffer.from(one).toString('base64')),
        fc.string(),
      ),
      signatures: fc.oneof(fc.array(fc.record({ sig: fc.base64String() })), fc.jsonValue()),
    },
    { requiredKeys: [] },
  );
  const anything = fc.oneof(
    text,
    parts.map((one) => JSON.stringify(one)),
    parts.map((one) =>
      JSON.stringify({
        mediaType: 'application/vnd.dev.sigstore.bundle.v0.3+json',
        verificationMaterial: { publicKey: { hint: '' } },
        dsseEnvelope: one,
      }),
    ),
  );
  const property = fc.property(anything, fc.boolean(), (value, bare) => {
    const evidence = bareEnvelope(value);
    const given = verdictOn(
      [bare ? evidence : { ...evidence, mediaType: 'application/vnd.dev.sigstore.bundle.v0.3+json' }],
      demand(['predicate == predicate']),
    );
    assert.equal(given.outcome, 'deny');
  });
  fc.assert(property, fuzzing(20261120, 600));
});

test('expressions over any validly attested predicate end, and throw nothing', () => {
  const expressions = [
    'predicate.a.b == 1',
    'predicate.all(x, predicate.all(y, x == y))',
    'size(predicate) > 0',
    'predicate.matches("a+b")',
    'predicate[0] == predicate[1]',
    'has(predicate.a) ? predicate.a > 1 : predicate == null',
  ];
  const property = fc.property(
    fc.jsonValue({ maxDepth: 8 }),
    fc.constantFrom(...expressions),
    (predicate, cel) => {
      const given = verdictOn([attested(statementText(predicate))], demand([cel]));
      assert.ok(given.outcome === 'admit' || given.outcome === 'deny');
    },
  );
  fc.assert(property, fuzzing(20261120, 300));
});
