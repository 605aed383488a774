import assert from 'node:assert/strict';
import { sign } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { fuzzing } from '../evidence/fixtures/fuzzing.ts';
import { sha256Digest } from '../json/canonical-json.ts';
import { signatureAnnotation } from '../evidence/cosign-names.ts';
import { makeSimpleSigningPayload } from '../signing/simple-signing-payload.ts';
import {
  bundle,
  bundleOf,
  decided,
  digest,
  foreign,
  item,
  manifestBytes,
  messageBundle,
  otherDigest,
  ours,
  platformDigest,
  signPredicate,
  simple,
  simpleFor,
  statement,
  subject,
  unreachable,
  withoutBytes,
  withoutSubject,
} from '../evidence/fixtures/sample-evidence.ts';
import type { BundleJson } from '../evidence/fixtures/sample-evidence.ts';
import type { EvidenceItem, Verdict } from '../findings/types.ts';
import { explainVerdict } from '../verdict/explain-verdict.ts';

const table: readonly (readonly [
  name: string,
  verdict: () => Verdict,
  outcome: Verdict['outcome'],
  says: RegExp,
])[] = [
  ['a bundle of the index', () => decided([bundle(ours)]), 'admit', /names the image's index sha256:a/],
  [
    'a bundle of the platform manifest',
    () => decided([bundle(ours, platformDigest)]),
    'admit',
    /names the platform's manifest sha256:b/,
  ],
  [
    'a simple signing of the index',
    () => decided([simple(simpleFor(digest))]),
    'admit',
    /made for registry\.example\.com\/pay\/app/,
  ],
  [
    'a bundle of another digest',
    () => decided([bundle(ours, otherDigest)]),
    'deny',
    /signature of another digest: it names sha256:c/,
  ],
  [
    'a simple signing of another digest',
    () => decided([simple(simpleFor(otherDigest))]),
    'deny',
    /signature of another digest: it names sha256:c/,
  ],
  [
    'a bundle by another key',
    () => decided([bundle(foreign)]),
    'deny',
    /made by another key: it names the key/,
  ],
  [
    'a simple signing by another key',
    () => decided([simple(simpleFor(digest), foreign)]),
    'deny',
    /another key signed/,
  ],
  ['nothing at all', () => decided([]), 'deny', /no signature was found/],
  [
    'no signature, and an unreachable source',
    () => decided([], undefined, { unreachable }),
    'undecided',
    /could not be reached: connection refused/,
  ],
  [
    'a bad signature, and an unreachable source',
    () => decided([bundle(foreign)], undefined, { unreachable }),
    'undecided',
    /made by another key/,
  ],
  [
    'a good signature, and an unreachable source',
    () => decided([bundle(ours)], undefined, { unreachable }),
    'admit',
    /admitted/,
  ],
  [
    'an item with a problem',
    () => decided([{ ...bundle(ours), problem: 'it is too large' }]),
    'deny',
    /it is too large/,
  ],
  [
    'bytes that differ from their digest',
    () => decided([{ ...bundle(ours), blobDigest: otherDigest }]),
    'deny',
    /its bytes have the digest/,
  ],
  ['bytes that are missing', () => decided([withoutBytes(bundle(ours))]), 'deny', /its bytes are missing/],
  [
    'a bundle that is not JSON',
    () => decided([item('sigstore-bundle', Buffer.from('{'))]),
    'deny',
    /not JSON/,
  ],
  [
    'a bundle of another version',
    () =>
      decided([bundleOf((json) => void (json.mediaType = 'application/vnd.dev.sigstore.bundle.v0.9+json'))]),
    'deny',
    /not a sigstore bundle of version 0\.1, 0\.2 or 0\.3/,
  ],
  [
    'two signatures in one envelope',
    () => decided([bundleOf((json) => json.dsseEnvelope?.signatures.push({ sig: 'AA==' }))]),
    'deny',
    /not have exactly one signature/,
  ],
  [
    'both kinds of content in one bundle',
    () => decided([bundleOf((json) => void (json.messageSignature = {}))]),
    'deny',
    /not have exactly one of/,
  ],
  [
    'a statement that is an attestation',
    () =>
      decided([
        statement(
          `{"_type":"https://in-toto.io/Statement/v1",${subject},"predicateType":"https://slsa.dev/provenance/v1"}`,
        ),
      ]),
    'deny',
    /not a signature of an image/,
  ],
  [
    'a statement of an older type',
    () => decided([statement(`{"_type":"https://in-toto.io/Statement/v0.1",${subject},${signPredicate}}`)]),
    'deny',
    /not an in-toto statement of version 1/,
  ],
  [
    'a statement with the subject twice',
    () =>
      decided([
        statement(`{"_type":"https://in-toto.io/Statement/v1",${subject},${subject},${signPredicate}}`),
      ]),
    'deny',
    /"subject" twice/,
  ],
  [
    'a statement without subject',
    () => decided([statement(`{"_type":"https://in-toto.io/Statement/v1",${signPredicate}}`)]),
    'deny',
    /names no subject/,
  ],
  [
    'a statement under another payload type',
    () =>
      decided([
        statement(`{"_type":"https://in-toto.io/Statement/v1",${subject},${signPredicate}}`, 'text/plain'),
      ]),
    'deny',
    /its payload is text\/plain/,
  ],
  [
    'a right statement',
    () => decided([statement(`{"_type":"https://in-toto.io/Statement/v1",${subject},${signPredicate}}`)]),
    'admit',
    /the signature is valid/,
  ],
  [
    'a payload with the digest twice',
    () =>
      decided([
        simple(
          Buffer.from(
            simpleFor(digest)
              .toString()
              .replace('"image":{', `"image":{"docker-manifest-digest":"${otherDigest}",`),
          ),
        ),
      ]),
    'deny',
    /"docker-manifest-digest" twice/,
  ],
  [
    'a payload of another type',
    () =>
      decided([
        simple(Buffer.from(simpleFor(digest).toString().replace('cosign container', 'atomic container'))),
      ]),
    'deny',
    /payload's type is not/,
  ],
  [
    'a payload without critical',
    () => decided([simple(Buffer.from('{"optional":null}'))]),
    'deny',
    /no "critical" part/,
  ],
  [
    'a simple signing without its annotation',
    () => decided([{ ...simple(simpleFor(digest)), annotations: {} }]),
    'deny',
    /annotation .* is missing/,
  ],
  [
    'a message signature over the manifest',
    () =>
      decided([messageBundle(manifestBytes)], undefined, {
        digest: sha256Digest(manifestBytes),
        manifestDigest: sha256Digest(manifestBytes),
      }),
    'admit',
    /signature over the manifest is valid/,
  ],
  [
    'a message signature over another manifest',
    () => decided([messageBundle(manifestBytes)]),
    'deny',
    /signature of another digest/,
  ],
  [
    'a message signature that claims another digest',
    () =>
      decided([messageBundle(manifestBytes, Buffer.from('x'))], undefined, {
        digest: sha256Digest(manifestBytes),
      }),
    'deny',
    /it names sha256:2d711642/,
  ],
  [
    'a message signature by another key',
    () =>
      decided([messageBundle(manifestBytes, manifestBytes, foreign)], undefined, {
        digest: sha256Digest(manifestBytes),
      }),
    'deny',
    /made by another key/,
  ],
  [
    'a message signature without the manifest',
    () => decided([withoutSubject(messageBundle(manifestBytes))]),
    'deny',
    /was not gathered/,
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

test('control characters of a registry or payload never reach the explanation', () => {
  const named = simple(makeSimpleSigningPayload(digest, 'evil\u001b[2Jname'));
  const text = explainVerdict(decided([{ ...named, servedBy: 'host\u0007\u202e' }]));
  assert.doesNotMatch(text, /[\u0000-\u0009\u000b-\u001f\u202e]/);
});

test('never admits when any bit of the evidence is changed', () => {
  for (const good of [bundle(ours), simple(simpleFor(digest)), bundle(ours, platformDigest)]) {
    const bytes = Buffer.from(good.bytes ?? '', 'base64');
    const signature = good.annotations[signatureAnnotation];
    fc.assert(
      fc.property(
        fc.nat({ max: bytes.length - 1 }),
        fc.integer({ min: 0, max: 7 }),
        fc.boolean(),
        fc.boolean(),
        (at, bit, rehash, inSignature) => {
          const target = Buffer.from(
            inSignature && signature !== undefined ? Buffer.from(signature, 'base64') : bytes,
          );
          const index = at % target.length;
          target[index] = (target[index] ?? 0) ^ (1 << bit);
          const changed: EvidenceItem =
            inSignature && signature !== undefined
              ? { ...good, annotations: { [signatureAnnotation]: target.toString('base64') } }
              : {
                  ...good,
                  bytes: target.toString('base64'),
                  ...(rehash && speaks(target, bytes) ? { blobDigest: sha256Digest(target) } : {}),
                };
          assert.equal(decided([changed]).outcome, 'deny');
        },
      ),
      fuzzing(3, 400),
    );
  }
});

test('never admits by random bytes and texts', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 200 }),
      fc.jsonValue(),
      fc.base64String(),
      (bytes, json, signature) => {
        const text = Buffer.from(JSON.stringify(json));
        const annotations = { [signatureAnnotation]: signature };
        for (const content of [Buffer.from(bytes), text]) {
          const items = [
            item('sigstore-bundle', content),
            item('cosign-simple-signing', content, { annotations }),
          ];
          assert.equal(decided(items).outcome, 'deny');
        }
      },
    ),
    fuzzing(4, 200),
  );
});

test('a signature over the bare payload, without the DSSE encoding, does not count', () => {
  const evidence = bundleOf((json) => {
    const { payload = '' } = json.dsseEnvelope ?? {};
    json.dsseEnvelope = {
      payload,
      payloadType: 'application/vnd.in-toto+json',
      signatures: [{ sig: sign('sha256', Buffer.from(payload, 'base64'), ours.private).toString('base64') }],
    };
  });
  assert.equal(decided([evidence]).outcome, 'deny');
});

/**
 * Whether a change to a bundle's JSON is one that the signature covers: the hint, blanks and surrounding
 * names are not signed.
 */
function speaks(changed: Buffer, original: Buffer): boolean {
  const signedPart = (bytes: Buffer): string => {
    try {
      const { payload, payloadType, signatures } = (JSON.parse(bytes.toString()) as BundleJson)
        .dsseEnvelope ?? {
        payload: bytes.toString(),
        payloadType: '',
        signatures: [],
      };
      return JSON.stringify([payload, payloadType, signatures]);
    } catch {
      return '';
    }
  };
  return signedPart(changed) !== signedPart(original);
}
