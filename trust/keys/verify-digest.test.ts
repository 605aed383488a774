import assert from 'node:assert/strict';
import { constants, createHash, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { before, test } from 'node:test';
import fc from 'fast-check';
import { fuzzing } from '../evidence/fixtures/fuzzing.ts';
import { loadPrehashed } from './prehash.ts';
import { verifyDigestWithKey, verifyWithKey } from './verify-signature.ts';

before(loadPrehashed);

const message = Buffer.from('a message');
const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve });
const rsa = (modulusLength: number) => generateKeyPairSync('rsa', { modulusLength });
const pss = (saltLength: number) => ({ padding: constants.RSA_PKCS1_PSS_PADDING, saltLength });
const [p256, p384, p521, rsa2048, rsa3072, rsa2049] = [
  ec('P-256'),
  ec('P-384'),
  ec('P-521'),
  rsa(2048),
  rsa(3072),
  rsa(2049),
];

type Digest = 'sha256' | 'sha384' | 'sha512';

const signatures: readonly (readonly [name: string, key: KeyObject, digest: Digest, signature: Buffer])[] = [
  ['ECDSA P-256', p256.publicKey, 'sha256', sign('sha256', message, p256.privateKey)],
  ['ECDSA P-384', p384.publicKey, 'sha384', sign('sha384', message, p384.privateKey)],
  ['ECDSA P-384 over SHA-256', p384.publicKey, 'sha256', sign('sha256', message, p384.privateKey)],
  ['ECDSA P-521', p521.publicKey, 'sha512', sign('sha512', message, p521.privateKey)],
  ['RSA PKCS #1 v1.5', rsa2048.publicKey, 'sha256', sign('sha256', message, rsa2048.privateKey)],
  ['RSA 3072 PKCS #1 v1.5', rsa3072.publicKey, 'sha256', sign('sha256', message, rsa3072.privateKey)],
  [
    'RSA PSS, salt of the digest',
    rsa2048.publicKey,
    'sha256',
    sign('sha256', message, { key: rsa2048.privateKey, ...pss(32) }),
  ],
  [
    'RSA PSS, no salt',
    rsa3072.publicKey,
    'sha256',
    sign('sha256', message, { key: rsa3072.privateKey, ...pss(0) }),
  ],
  [
    'RSA PSS, the longest salt',
    rsa2048.publicKey,
    'sha256',
    sign('sha256', message, { key: rsa2048.privateKey, ...pss(222) }),
  ],
  [
    'RSA PSS of 2049 bits',
    rsa2049.publicKey,
    'sha256',
    sign('sha256', message, { key: rsa2049.privateKey, ...pss(32) }),
  ],
];

for (const [name, key, algorithm, signature] of signatures) {
  test(`${name} verifies by digest alone, and does not verify after any change`, () => {
    const value = createHash(algorithm).update(message).digest();
    assert.ok(verifyDigestWithKey(key, { algorithm, value }, signature));
    assert.ok(verifyWithKey(key, message, signature));
    assert.ok(
      !verifyDigestWithKey(
        key,
        { algorithm, value: createHash(algorithm).update('other').digest() },
        signature,
      ),
    );
    fc.assert(
      fc.property(fc.nat(signature.length * 8 - 1), (bit) => {
        const changed = Buffer.from(signature);
        changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
        assert.equal(
          verifyDigestWithKey(key, { algorithm, value }, changed),
          verifyWithKey(key, message, changed),
        );
        assert.ok(!verifyDigestWithKey(key, { algorithm, value }, changed));
      }),
      fuzzing(3, 6),
    );
  });
}

test('Ed25519 cannot be verified by digest, nor a curve by a digest other than its own', () => {
  const ed25519 = generateKeyPairSync('ed25519');
  const value = createHash('sha512').update(message).digest();
  assert.ok(
    !verifyDigestWithKey(
      ed25519.publicKey,
      { algorithm: 'sha512', value },
      sign(null, message, ed25519.privateKey),
    ),
  );
  assert.ok(
    !verifyDigestWithKey(
      p256.publicKey,
      { algorithm: 'sha512', value },
      sign('sha512', message, p256.privateKey),
    ),
  );
});

// RFC 8032 section 7.3, "TEST abc".
const vector = {
  key: 'ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf',
  message: Buffer.from('abc'),
  signature:
    '98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae4131f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406',
};

test("Ed25519ph verifies RFC 8032's vector, and a pure signature is never taken for it or the reverse", () => {
  const spki = Buffer.concat([
    Buffer.from('302a300506032b6570032100', 'hex'),
    Buffer.from(vector.key, 'hex'),
  ]);
  const key = createPublicKey({ key: spki, format: 'der', type: 'spki' });
  const signature = Buffer.from(vector.signature, 'hex');
  assert.ok(verifyWithKey(key, vector.message, signature));
  assert.ok(!verifyWithKey(key, Buffer.from('abd'), signature));
  // A signature over the digest as a message is different, because the domains differ.
  assert.ok(!verifyWithKey(key, createHash('sha512').update(vector.message).digest(), signature));
  fc.assert(
    fc.property(fc.nat(511), (bit) => {
      const changed = Buffer.from(signature);
      changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
      assert.ok(!verifyWithKey(key, vector.message, changed));
    }),
    fuzzing(4, 30),
  );
});
