import assert from 'node:assert/strict';
import { createHash, createPublicKey, generateKeyPairSync, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { test } from 'node:test';
import { keyAlgorithms } from '../gpg/algorithms.ts';
import { readPublicKey } from '../gpg/public-key-packet.ts';
import { tokenGuard } from '../notary/tokens.ts';
import { readTrustedRoot } from '../sigstore/trusted-root.ts';
import { verifyArtifact } from '../sigstore/verify-artifact.ts';
import { notaryKeyId, readNotaryKey, readTufKey } from '../tuf-metadata/keys.ts';
import { readCertificate } from '../x509/certificate.ts';
import { buildCertificate } from '../x509/fixtures/build-certificate.ts';
import { parsePublicKey } from './public-key.ts';

/**
 * Wherever a public key is read, an RSA key with a public exponent that Go's crypto/rsa refuses is refused:
 * with the exponent 1, the padded digest is its own signature, and a long exponent makes verification slow.
 */

const jwk = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'jwk' });
const modulus = Buffer.from(jwk.n ?? '', 'base64url');

function keyOf(exponent: bigint): KeyObject {
  const hex = exponent.toString(16);
  const e = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex').toString('base64url');
  return createPublicKey({ key: { ...jwk, e }, format: 'jwk' });
}
const pemOf = (key: KeyObject): string => key.export({ type: 'spki', format: 'pem' }).toString();
const spkiOf = (key: KeyObject): Buffer => key.export({ type: 'spki', format: 'der' });
const reason = (read: () => unknown): string => {
  try {
    read();
    return '';
  } catch (error) {
    return (error as Error).message;
  }
};

function trustedRoot(key: KeyObject): Buffer {
  const log = {
    publicKey: {
      rawBytes: spkiOf(key).toString('base64'),
      keyDetails: 'PKIX_RSA_PKCS1V15_2048_SHA256',
      validFor: { start: '2020-01-01T00:00:00Z' },
    },
    logId: { keyId: 'AAAAAA==' },
  };
  return Buffer.from(
    JSON.stringify({ mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1', tlogs: [log] }),
  );
}

/** The content of a public key packet of version 4 (RFC 9580 section 5.5.2.2). */
function openPgpKey(exponent: bigint): Buffer {
  const bits = exponent.toString(2).length;
  const e = Buffer.from(exponent.toString(16).padStart(Math.ceil(bits / 8) * 2, '0'), 'hex');
  return Buffer.concat([
    Buffer.of(4, 0, 0, 0, 0, keyAlgorithms.rsa, 2048 >> 8, 0),
    modulus,
    Buffer.of(bits >> 8, bits & 0xff),
    e,
  ]);
}

const bundle = {
  mediaType: 'application/vnd.dev.sigstore.bundle.v0.3+json',
  verificationMaterial: { publicKey: { hint: '' } },
  messageSignature: { signature: 'AAAA' },
};

const usual = 65_537n;
const refused = [1n, 2n, 65_536n, 2n ** 31n + 1n, 2n ** 2000n + 1n];

/** A place where keys are read. It returns why the key is refused, or an empty text. */
type Place = (exponent: bigint) => string | Promise<string>;

const places: Readonly<Record<string, Place>> = {
  'the key of a policy': (exponent) => {
    const key = parsePublicKey('k', pemOf(keyOf(exponent)));
    return 'problem' in key ? key.problem : '';
  },
  'a certificate': (exponent) =>
    reason(() => readCertificate(buildCertificate('x', { spki: () => spkiOf(keyOf(exponent)) }).der)),
  'a log of a trusted root': (exponent) => reason(() => readTrustedRoot(trustedRoot(keyOf(exponent)))),
  'the key that signed a file': async (exponent) => {
    const finding = await verifyArtifact({
      bundle: Buffer.from(JSON.stringify(bundle)),
      artifact: { bytes: Buffer.of() },
      signer: { key: pemOf(keyOf(exponent)) },
      trustedRoot: trustedRoot(keyOf(usual)),
      now: new Date(),
    });
    return finding.verified || finding.code !== 'TRUST_KEY_UNREADABLE' ? '' : finding.why;
  },
  'a key set for tokens': (exponent) =>
    reason(() => {
      const jwks = { keys: [keyOf(exponent).export({ format: 'jwk' })] };
      tokenGuard({ realm: 'https://a.example/t', service: 's', issuer: 'i', jwks }, Date.now);
    }),
  'an OpenPGP key': (exponent) => readPublicKey(openPgpKey(exponent)).unusable ?? '',
};

/** Places that treat such a key as one that they cannot read. It stays in its list, and never verifies. */
const silentPlaces: Readonly<Record<string, (exponent: bigint) => boolean>> = {
  'a TUF key': (exponent) => {
    const keyval = { public: pemOf(keyOf(exponent)) };
    return readTufKey('id', { keytype: 'rsa', scheme: 'rsassa-pss-sha256', keyval }).key !== undefined;
  },
  'a Notary key': (exponent) => {
    const text = spkiOf(keyOf(exponent)).toString('base64');
    const keyval = { private: null, public: text };
    return readNotaryKey(notaryKeyId('rsa', text), { keytype: 'rsa', keyval }).key !== undefined;
  },
};

test('anyone can make a signature for the exponent 1', () => {
  const digest = createHash('sha256').update('message').digest();
  const prefix = Buffer.from('3031300d060960864801650304020105000420', 'hex');
  const filler = Buffer.alloc(256 - 3 - prefix.length - digest.length, 0xff);
  const signature = Buffer.concat([Buffer.of(0, 1), filler, Buffer.of(0), prefix, digest]);
  assert.ok(verify('sha256', Buffer.from('message'), keyOf(1n), signature));
});

for (const [name, place] of Object.entries(places))
  test(`${name}: unsafe RSA exponents are refused`, async () => {
    for (const exponent of [3n, usual]) assert.equal(await place(exponent), '');
    for (const exponent of refused)
      assert.match(await place(exponent), /its RSA exponent/, exponent.toString(16).slice(0, 20));
  });

for (const [name, isRead] of Object.entries(silentPlaces))
  test(`${name}: unsafe RSA exponents are not read`, () => {
    for (const exponent of [3n, usual]) assert.ok(isRead(exponent));
    for (const exponent of refused) assert.equal(isRead(exponent), false, exponent.toString(16).slice(0, 20));
  });
