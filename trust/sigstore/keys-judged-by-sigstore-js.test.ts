import assert from 'node:assert/strict';
import { constants, createPublicKey, generateKeyPairSync, hash, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { fixtureContent } from '../evidence/fixtures/fixture-registry.ts';
import { fuzzing } from '../evidence/fixtures/fuzzing.ts';
import { loadPrehashed } from '../keys/prehash.ts';
import { bundleKeyHint, parsePublicKey } from '../keys/public-key.ts';
import { readBundle } from './bundle.ts';
import { changesOf } from './fixtures/bundle-changes.ts';
import type { Json } from './fixtures/bundle-changes.ts';
import { intendedDifferences } from './fixtures/intended-differences.ts';
import { judgeWithKey } from './fixtures/sigstore-js.ts';
import { signaturesOnly, verifyBundle } from './verify.ts';

/** Portcullis and @sigstore/verify judge bundles that were signed with a key. */

before(loadPrehashed);

const message = Buffer.from('what is signed');

function ourOpinion(bundle: Json, key: KeyObject): string | undefined {
  try {
    const verified = verifyBundle({
      bundle: readBundle(Buffer.from(JSON.stringify(bundle))),
      message: { bytes: message, digests: {} },
      key,
      thresholds: signaturesOnly,
      now: new Date(),
    });
    return 'problem' in verified ? verified.problem : undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

const keyFolder = join(import.meta.dirname, '../evidence/fixtures/keys');

/** The fixtures' public keys, by the hint with which a bundle names them. */
const fixtureKeys = new Map(
  readdirSync(keyFolder)
    .filter((name) => name.endsWith('.pub'))
    .map((name) => {
      const key = parsePublicKey(name, readFileSync(join(keyFolder, name), 'utf8'));
      assert.ok('spki' in key);
      return [bundleKeyHint(key.spki), Buffer.from(key.spki, 'base64')] as const;
    }),
);

interface Signed {
  readonly name: string;
  readonly bundle: Json;
  readonly spki: Buffer;
}

/** The bundles that cosign made. */
const byCosign: readonly Signed[] = [...fixtureContent()].flatMap(([name, { blobs }]) =>
  [...blobs.values()].flatMap((blob) => {
    if (!blob.includes('"application/vnd.dev.sigstore.bundle.v0.3+json"')) return [];
    const bundle = JSON.parse(blob.toString()) as Json;
    const { publicKey } = bundle['verificationMaterial'] as { publicKey: { hint: string } };
    return [
      {
        name,
        bundle,
        spki: fixtureKeys.get(publicKey.hint) ?? assert.fail(`${name}: an unknown key signed`),
      },
    ];
  }),
);

/**
 * Why only Portcullis accepts what a key signed. Everything else must be accepted by both.
 * `verify` of @sigstore/core passes no digest for an envelope, and a digest for each message.
 */
const onlyPortcullis: Readonly<Record<string, string>> = {
  'bundle/ed25519': 'cosign signs with Ed25519ph, which sigstore-js does not know',
  'bundle/ecdsa-p384': 'sigstore-js verifies envelopes with SHA-256 alone',
  'bundle/ecdsa-p521': 'sigstore-js verifies envelopes with SHA-256 alone',
  'a message by Ed25519': 'sigstore-js verifies each message with a digest, which Ed25519 refuses',
  'a message by RSA PSS': 'sigstore-js verifies RSA with PKCS #1 v1.5 alone',
};

const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve });
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });

function messageBundle(name: string, publicKey: KeyObject, signature: Buffer): Signed {
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  return {
    name,
    spki,
    bundle: {
      mediaType: 'application/vnd.dev.sigstore.bundle.v0.3+json',
      verificationMaterial: { publicKey: { hint: bundleKeyHint(spki.toString('base64')) }, tlogEntries: [] },
      messageSignature: {
        messageDigest: { algorithm: 'SHA2_256', digest: hash('sha256', message, 'base64') },
        signature: signature.toString('base64'),
      },
    },
  };
}

const p256 = ec('P-256');
const p384 = ec('P-384');
const ed25519 = generateKeyPairSync('ed25519');
const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };

const messages: readonly Signed[] = [
  messageBundle('a message by P-256', p256.publicKey, sign('sha256', message, p256.privateKey)),
  messageBundle('a message by P-384 over SHA-256', p384.publicKey, sign('sha256', message, p384.privateKey)),
  messageBundle('a message by RSA', rsa.publicKey, sign('sha256', message, rsa.privateKey)),
  messageBundle(
    'a message by RSA PSS',
    rsa.publicKey,
    sign('sha256', message, { key: rsa.privateKey, ...pss }),
  ),
  messageBundle('a message by Ed25519', ed25519.publicKey, sign(null, message, ed25519.privateKey)),
];

const all = [...byCosign, ...messages];

for (const { name, bundle, spki } of all) {
  const key = createPublicKey({ key: spki, format: 'der', type: 'spki' });
  const reason = Object.hasOwn(onlyPortcullis, name) ? onlyPortcullis[name] : undefined;

  test(`${reason === undefined ? 'agrees with sigstore-js about' : 'accepts, unlike sigstore-js,'} ${name}`, () => {
    assert.equal(ourOpinion(bundle, key), undefined);
    assert.equal(
      judgeWithKey(bundle, message, spki) === undefined,
      reason === undefined,
      reason ?? 'both accept it',
    );
  });

  test(`agrees with sigstore-js that changes of ${name} do not count`, () => {
    const others = { 'another key': (all.find((one) => one.name !== name) as Signed).bundle };
    let refused = 0;
    for (const { place, what, bundle: changed } of changesOf(bundle, others, fuzzing(0, 8).numRuns)) {
      const [ours, theirs] = [ourOpinion(changed, key), judgeWithKey(changed, message, spki)];
      if (ours !== undefined) refused += 1;
      if ((ours === undefined) === (theirs === undefined)) continue;
      const where = `${place}: ${what}`;
      if (ours === undefined)
        // Only the signature is verified here. `verifyArtifact` compares the digest.
        assert.ok(
          reason !== undefined || place.startsWith('messageSignature.messageDigest'),
          `${where}: ${theirs}`,
        );
      else {
        const rows = intendedDifferences.filter(
          (one) => one.accepts === 'sigstore-js' && one.place.test(place),
        );
        const row = rows.find(({ refusal }) => refusal.test(ours));
        assert.ok(row !== undefined, `${where}: only sigstore-js accepts it, and we say: ${ours}`);
      }
    }
    assert.ok(refused > 60, `${refused} changes were refused`);
  });
}

test('each reason belongs to a bundle', () => {
  const names = all.map(({ name }) => name);
  for (const name of Object.keys(onlyPortcullis)) assert.ok(names.includes(name), name);
});
