import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { sha256Digest } from '../canonical-json.ts';
import { bundleMediaType, signatureAnnotation, simpleSigningMediaType } from '../evidence/cosign-names.ts';
import { makeBundle, makeSimpleSigningPayload } from '../evidence/cosign-write.ts';
import { sealDossier } from '../evidence/dossier.ts';
import { amd64, now, policyOf } from '../evidence/fixtures/fixture-image.ts';
import { signMessage } from '../keys/private-key.ts';
import type { SigningKey } from '../keys/private-key.ts';
import { policyKey } from '../keys/public-key.ts';
import type { Dossier, EvidenceItem, Requirement, TrustPolicy, Verdict } from '../types.ts';
import { decide } from './decide.ts';
import { decideUnseen } from './decide-unseen.ts';
import { explainVerdict } from './explain.ts';

const digest = `sha256:${'a'.repeat(64)}`;
const platformDigest = `sha256:${'b'.repeat(64)}`;
const otherDigest = `sha256:${'c'.repeat(64)}`;
const reference = 'registry.example.com/pay/app:1';

function newKey(name: string): SigningKey {
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const key = policyKey(name, createPublicKey(createPrivateKey(pair.privateKey.export({ type: 'pkcs8', format: 'pem' }))));
  assert.ok('spki' in key);
  return { public: key, private: pair.privateKey };
}

const ours = newKey('ours.pub');
const second = newKey('second.pub');
const foreign = newKey('foreign.pub');
const by = (key: SigningKey): Requirement => ({ kind: 'cosign-key', key: key.public });

function item(kind: EvidenceItem['kind'], bytes: Uint8Array, more: Partial<EvidenceItem> = {}): EvidenceItem {
  return {
    kind,
    attachedTo: digest,
    foundBy: 'referrers',
    servedBy: 'registry.example.com',
    manifestDigest: otherDigest,
    blobDigest: sha256Digest(bytes),
    mediaType: kind === 'sigstore-bundle' ? bundleMediaType : simpleSigningMediaType,
    annotations: {},
    bytes: Buffer.from(bytes).toString('base64'),
    ...more,
  };
}

const bundle = (key: SigningKey, of = digest): EvidenceItem => item('sigstore-bundle', makeBundle(of, key));

function bundleOf(change: (bundle: BundleJson) => void, key = ours, of = digest): EvidenceItem {
  const json = JSON.parse(makeBundle(of, key).toString()) as BundleJson;
  change(json);
  return item('sigstore-bundle', Buffer.from(JSON.stringify(json)));
}

interface BundleJson {
  mediaType: string;
  verificationMaterial: unknown;
  dsseEnvelope?: { payload: string; payloadType: string; signatures: { sig: string }[] };
  messageSignature?: unknown;
}

/** A statement signed rightly, whatever it says. */
function statement(text: string, payloadType = 'application/vnd.in-toto+json'): EvidenceItem {
  const payload = Buffer.from(text);
  const signed = Buffer.concat([Buffer.from(`DSSEv1 ${payloadType.length} ${payloadType} ${payload.length} `), payload]);
  return bundleOf((json) => {
    json.dsseEnvelope = {
      payload: payload.toString('base64'),
      payloadType,
      signatures: [{ sig: signMessage(ours, signed).toString('base64') }],
    };
  });
}

function simple(payload: Buffer, key = ours): EvidenceItem {
  return item('cosign-simple-signing', payload, { annotations: { [signatureAnnotation]: signMessage(key, payload).toString('base64') } });
}

const simpleFor = (of: string): Buffer => makeSimpleSigningPayload(of, 'registry.example.com/pay/app');
const hex = digest.slice(7);
const subject = `"subject":[{"digest":{"sha256":"${hex}"}}]`;
const signPredicate = '"predicateType":"https://sigstore.dev/cosign/sign/v1"';

const manifestBytes = Buffer.from('{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}');
function messageBundle(signed: Buffer, claimed = signed, key = ours): EvidenceItem {
  return {
    ...bundleOf((json) => {
      delete json.dsseEnvelope;
      json.messageSignature = {
        messageDigest: { algorithm: 'SHA2_256', digest: Buffer.from(sha256Digest(claimed).slice(7), 'hex').toString('base64') },
        signature: signMessage(key, signed).toString('base64'),
      };
    }, key),
    subjectBytes: manifestBytes.toString('base64'),
  };
}

function dossierOf(items: readonly EvidenceItem[], parts: Partial<Dossier> = {}): Dossier {
  return sealDossier({
    reference,
    digest,
    manifestDigest: platformDigest,
    items,
    unreachable: [],
    gatheredAt: now.toISOString(),
    ...parts,
  });
}

function decided(
  items: readonly EvidenceItem[],
  policy: TrustPolicy = policyOf({ require: by(ours) }),
  parts: Partial<Dossier> = {},
  namespace = 'pay-eu',
): Verdict {
  return decide({ dossier: dossierOf(items, parts), reference, namespace, platform: amd64, policy, now });
}

const unreachable = [{ source: 'registry.example.com', why: 'connection refused' }];

const table: readonly (readonly [name: string, verdict: () => Verdict, outcome: Verdict['outcome'], says: RegExp])[] = [
  ['a bundle of the index', () => decided([bundle(ours)]), 'admit', /names the image's index sha256:a/],
  ['a bundle of the platform manifest', () => decided([bundle(ours, platformDigest)]), 'admit', /names the platform's manifest sha256:b/],
  ['a simple signing of the index', () => decided([simple(simpleFor(digest))]), 'admit', /made for registry\.example\.com\/pay\/app/],
  ['a bundle of another digest', () => decided([bundle(ours, otherDigest)]), 'deny', /signature of another digest: it names sha256:c/],
  [
    'a simple signing of another digest',
    () => decided([simple(simpleFor(otherDigest))]),
    'deny',
    /signature of another digest: it names sha256:c/,
  ],
  ['a bundle by another key', () => decided([bundle(foreign)]), 'deny', /made by another key: it names the key/],
  ['a simple signing by another key', () => decided([simple(simpleFor(digest), foreign)]), 'deny', /another key signed/],
  ['nothing at all', () => decided([]), 'deny', /no signature was found/],
  [
    'nothing, where a source could not be asked',
    () => decided([], undefined, { unreachable }),
    'undecided',
    /could not be asked: connection refused/,
  ],
  [
    'a bad signature, where a source could not be asked',
    () => decided([bundle(foreign)], undefined, { unreachable }),
    'undecided',
    /made by another key/,
  ],
  ['a good signature, where a source could not be asked', () => decided([bundle(ours)], undefined, { unreachable }), 'admit', /admitted/],
  ['an item with a problem', () => decided([{ ...bundle(ours), problem: 'it is too large' }]), 'deny', /it is too large/],
  [
    'bytes that differ from their digest',
    () => decided([{ ...bundle(ours), blobDigest: otherDigest }]),
    'deny',
    /its bytes have the digest/,
  ],
  ['bytes that are missing', () => decided([withoutBytes(bundle(ours))]), 'deny', /its bytes are missing/],
  ['a bundle that is no JSON', () => decided([item('sigstore-bundle', Buffer.from('{'))]), 'deny', /not JSON/],
  [
    'a bundle of another version',
    () => decided([bundleOf((json) => void (json.mediaType = 'application/vnd.dev.sigstore.bundle.v0.9+json'))]),
    'deny',
    /not a sigstore bundle of version 0\.3/,
  ],
  [
    'two signatures in one envelope',
    () => decided([bundleOf((json) => json.dsseEnvelope?.signatures.push({ sig: 'AA==' }))]),
    'deny',
    /not exactly one signature/,
  ],
  [
    'both kinds of content in one bundle',
    () => decided([bundleOf((json) => void (json.messageSignature = {}))]),
    'deny',
    /not exactly one of/,
  ],
  [
    'a statement that is an attestation',
    () => decided([statement(`{"_type":"https://in-toto.io/Statement/v1",${subject},"predicateType":"https://slsa.dev/provenance/v1"}`)]),
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
    () => decided([statement(`{"_type":"https://in-toto.io/Statement/v1",${subject},${subject},${signPredicate}}`)]),
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
    () => decided([statement(`{"_type":"https://in-toto.io/Statement/v1",${subject},${signPredicate}}`, 'text/plain')]),
    'deny',
    /its payload is text\/plain/,
  ],
  [
    'a right statement',
    () => decided([statement(`{"_type":"https://in-toto.io/Statement/v1",${subject},${signPredicate}}`)]),
    'admit',
    /the signature is right/,
  ],
  [
    'a payload with the digest twice',
    () =>
      decided([
        simple(Buffer.from(simpleFor(digest).toString().replace('"image":{', `"image":{"docker-manifest-digest":"${otherDigest}",`))),
      ]),
    'deny',
    /"docker-manifest-digest" twice/,
  ],
  [
    'a payload of another type',
    () => decided([simple(Buffer.from(simpleFor(digest).toString().replace('cosign container', 'atomic container')))]),
    'deny',
    /payload's type is not/,
  ],
  ['a payload without critical', () => decided([simple(Buffer.from('{"optional":null}'))]), 'deny', /no "critical" part/],
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
    /signature over the manifest is right/,
  ],
  ['a message signature over another manifest', () => decided([messageBundle(manifestBytes)]), 'deny', /signature of another digest/],
  [
    'a message signature that claims another digest',
    () => decided([messageBundle(manifestBytes, Buffer.from('x'))], undefined, { digest: sha256Digest(manifestBytes) }),
    'deny',
    /it names sha256:2d711642/,
  ],
  [
    'a message signature by another key',
    () => decided([messageBundle(manifestBytes, manifestBytes, foreign)], undefined, { digest: sha256Digest(manifestBytes) }),
    'deny',
    /made by another key/,
  ],
  ['a message signature without the manifest', () => decided([withoutSubject(messageBundle(manifestBytes))]), 'deny', /was not gathered/],
  [
    'all of two keys, one signed',
    () => decided([bundle(ours)], policyOf({ require: { kind: 'all', of: [by(ours), by(second)] } })),
    'deny',
    /all of 2 requirements: 1 satisfied, 2 needed/,
  ],
  [
    'all of two keys, both signed',
    () => decided([bundle(ours), bundle(second)], policyOf({ require: { kind: 'all', of: [by(ours), by(second)] } })),
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
    /can not be decided/,
  ],
  [
    'no rule matches',
    () => decided([bundle(ours)], policyOf({ images: ['elsewhere.example/**'], require: by(ours) })),
    'deny',
    /no rule of the policy matches/,
  ],
  ['an empty policy', () => decided([bundle(ours)], policyOf()), 'deny', /no rule of the policy matches/],
  ['unverified, and nothing else matches', () => decided([], policyOf({ allowUnverified: true })), 'admit', /nothing was proven/],
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
    () => decided([bundle(ours)], policyOf({ require: by(ours), ceiling: { rule: 'r', ceiling: 'web', require: 'signed' } })),
    'deny',
    /demands entitlements signed by the publisher/,
  ],
  [
    'signed entitlements demanded of the unverified',
    () => decided([], policyOf({ allowUnverified: true, ceiling: { rule: 'r', ceiling: 'web', require: 'signed' } })),
    'deny',
    /demands entitlements/,
  ],
  ['a rule without a requirement', () => decided([bundle(ours)], policyOf({})), 'deny', /demands nothing and allows nothing/],
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
    /asks for sha256:c/,
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
    'a reference that can not be read',
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
    /can not be read/,
  ],
  [
    'the same digest under a name that no rule holds',
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

test('ceilings are those of the rules that admitted, and none of a denial', () => {
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
  const stored = { ...(JSON.parse(JSON.stringify(input)) as typeof input), now, policy: JSON.parse(JSON.stringify(policy)) as TrustPolicy };
  assert.equal(JSON.stringify(decide(stored)), JSON.stringify(decide({ ...input, policy })));
});

test('the time changes nothing of the id, the namespace and policy do', () => {
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

test('before anything is fetched: a reference that no rule can admit has its verdict, any other has none', () => {
  const input = { reference, namespace: '', platform: amd64, now };
  assert.equal(decideUnseen({ ...input, policy: policyOf({ require: by(ours) }) }), undefined);
  const unseen = decideUnseen({ ...input, policy: policyOf({ images: ['elsewhere.example/**'], require: by(ours) }) });
  assert.equal(unseen?.outcome, 'deny');
  assert.match(explainVerdict(unseen), /^- registry\.example\.com\/pay\/app:1 \(namespace not known\) is denied\n/);
  const signedOnly = policyOf({ require: by(ours), ceiling: { rule: 'r', ceiling: 'web', require: 'signed' } });
  assert.equal(decideUnseen({ ...input, policy: signedOnly })?.outcome, 'deny');
});

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
          const target = Buffer.from(inSignature && signature !== undefined ? Buffer.from(signature, 'base64') : bytes);
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
      { numRuns: 400 },
    );
  }
});

test('never admits what random bytes and texts say', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.jsonValue(), fc.base64String(), (bytes, json, signature) => {
      const text = Buffer.from(JSON.stringify(json));
      const annotations = { [signatureAnnotation]: signature };
      for (const content of [Buffer.from(bytes), text]) {
        const items = [item('sigstore-bundle', content), item('cosign-simple-signing', content, { annotations })];
        assert.equal(decided(items).outcome, 'deny');
      }
    }),
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

/** Whether a change of a bundle's JSON is one that its signature covers: hint, blanks and names around it are not signed. */
function speaks(changed: Buffer, original: Buffer): boolean {
  const signedPart = (bytes: Buffer): string => {
    try {
      const { payload, payloadType, signatures } = (JSON.parse(bytes.toString()) as BundleJson).dsseEnvelope ?? {
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

function withoutBytes({ bytes: _bytes, ...rest }: EvidenceItem): EvidenceItem {
  return rest;
}

function withoutSubject({ subjectBytes: _bytes, ...rest }: EvidenceItem): EvidenceItem {
  return rest;
}
