import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { test } from 'node:test';
import { keyAlgorithms } from '../gpg/algorithms.ts';
import { readPublicKey } from '../gpg/public-key-packet.ts';
import { tokenGuard } from '../notary/tokens.ts';
import { readTrustedRoot } from '../sigstore/trusted-root.ts';
import { verifyArtifact } from '../sigstore/verify-artifact.ts';
import { notaryKeyId, readNotaryKey, readTufKey, signedBy } from '../tuf-metadata/keys.ts';
import { parseNoteKey } from '../verdict-log/signed-note.ts';
import { readCertificate } from '../x509/certificate.ts';
import { buildCertificate } from '../x509/fixtures/build-certificate.ts';
import { ed25519KeyOf, encodePoint, smallOrderPoints } from './fixtures/edwards-points.ts';
import { parsePublicKey } from './public-key.ts';

/**
 * Wherever a public key is read, one that no one may use is refused: a point of small order, for which
 * anyone can make signatures, or a second encoding of a point.
 */

/** RFC 8032 section 7.1, TEST 1. */
const honest = Buffer.from('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a', 'hex');
/** A point with y = 3 in its other encoding. Its order is large. */
const secondEncoding = encodePoint(2n ** 255n - 19n + 3n);

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

const tufKey = (keytype: string, text: string) =>
  readTufKey('id', { keytype, scheme: 'ed25519', keyval: { public: text } });

function trustedRoot(key: KeyObject): Buffer {
  const log = {
    publicKey: {
      rawBytes: spkiOf(key).toString('base64'),
      keyDetails: 'PKIX_ED25519',
      validFor: { start: '2020-01-01T00:00:00Z' },
    },
    logId: { keyId: 'AAAAAA==' },
  };
  return Buffer.from(
    JSON.stringify({ mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1', tlogs: [log] }),
  );
}

/** The content of a public key packet of version 6 (RFC 9580 section 5.5.2.3). */
function openPgpKey(point: Buffer): Buffer {
  return Buffer.concat([Buffer.of(6, 0, 0, 0, 0, keyAlgorithms.ed25519, 0, 0, 0, point.length), point]);
}

/** `NAME+ID+BASE64` (C2SP signed-note). */
function noteKey(point: Buffer): string {
  const typed = Buffer.concat([Buffer.of(1), point]);
  const id = createHash('sha256').update('node\n').update(typed).digest('hex').slice(0, 8);
  return `node+${id}+${typed.toString('base64')}`;
}

const bundle = {
  mediaType: 'application/vnd.dev.sigstore.bundle.v0.3+json',
  verificationMaterial: { publicKey: { hint: '' } },
  messageSignature: { signature: 'AAAA' },
};

/** A place where keys are read. It returns why the key is refused, or an empty text. */
type Place = (point: Buffer) => string | Promise<string>;

const places: Readonly<Record<string, Place>> = {
  'the key of a policy': (point) => {
    const key = parsePublicKey('k', pemOf(ed25519KeyOf(point)));
    return 'problem' in key ? key.problem : '';
  },
  'a certificate': (point) =>
    reason(() => readCertificate(buildCertificate('x', { spki: () => spkiOf(ed25519KeyOf(point)) }).der)),
  'a log of a trusted root': (point) => reason(() => readTrustedRoot(trustedRoot(ed25519KeyOf(point)))),
  'the key that signed a file': async (point) => {
    const finding = await verifyArtifact({
      bundle: Buffer.from(JSON.stringify(bundle)),
      artifact: { bytes: Buffer.of() },
      signer: { key: pemOf(ed25519KeyOf(point)) },
      trustedRoot: trustedRoot(ed25519KeyOf(honest)),
      now: new Date(),
    });
    return finding.verified || finding.code !== 'TRUST_KEY_UNREADABLE' ? '' : finding.why;
  },
  'a key set for tokens': (point) =>
    reason(() => {
      const jwks = { keys: [ed25519KeyOf(point).export({ format: 'jwk' })] };
      tokenGuard({ realm: 'https://a.example/t', service: 's', issuer: 'i', jwks }, Date.now);
    }),
  'an OpenPGP key': (point) => readPublicKey(openPgpKey(point)).unusable ?? '',
};

/** Places that treat such a key as one that they cannot read. It stays in its list, and never verifies. */
const silentPlaces: Readonly<Record<string, (point: Buffer) => boolean>> = {
  'a TUF key in hex': (point) => tufKey('ed25519', point.toString('hex')).key !== undefined,
  'a TUF key in PEM': (point) => tufKey('other', pemOf(ed25519KeyOf(point))).key !== undefined,
  'a Notary key': (point) => {
    const text = point.toString('base64');
    const id = notaryKeyId('ed25519', text);
    return (
      readNotaryKey(id, { keytype: 'ed25519', keyval: { private: null, public: text } }).key !== undefined
    );
  },
  'the key of a verdict log': (point) => parseNoteKey(noteKey(point)) !== undefined,
};

for (const [name, place] of Object.entries(places))
  test(`${name}: points of small order and second encodings are refused`, async () => {
    assert.equal(await place(honest), '');
    for (const [which, point] of smallOrderPoints)
      assert.match(await place(point), /its point has small order, and anyone can make signatures/, which);
    assert.match(await place(secondEncoding), /its point is not in its canonical encoding \(RFC 8032\)/);
  });

for (const [name, isRead] of Object.entries(silentPlaces))
  test(`${name}: points of small order and second encodings are not read`, () => {
    assert.ok(isRead(honest));
    for (const [which, point] of [...smallOrderPoints, ['second encoding', secondEncoding] as const])
      assert.equal(isRead(point), false, which);
  });

test('no signature of a TUF key of small order counts', () => {
  const [, point] = smallOrderPoints[4] as readonly [string, Buffer];
  // R is the neutral element, S is 0: the equation holds for every message if the key is the neutral element.
  const signature = Buffer.concat([encodePoint(1n), Buffer.alloc(32)]);
  assert.equal(signedBy(tufKey('ed25519', point.toString('hex')), Buffer.from('message'), signature), false);
});
