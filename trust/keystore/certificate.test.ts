import assert from 'node:assert/strict';
import { X509Certificate, generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { fuzzing } from '../evidence/fixtures/fuzzing.ts';
import { policyKey } from '../keys/public-key.ts';
import { keySigner } from '../signers/signer.ts';
import { isSelfSigned, keyUsageBit } from '../x509/certificate.ts';
import { certificatesOfPem, commonNameOf } from '../x509/pem.ts';
import { selfSignedCertificate } from './certificate.ts';

const pairs = {
  ecdsa: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  rsa: generateKeyPairSync('rsa', { modulusLength: 2048 }),
};
const anyTime = fc
  .integer({ min: 0, max: Date.UTC(2200, 0, 1) / 1000 })
  .map((seconds) => new Date(seconds * 1000));
const anyName = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 40 })
  .filter((name) => !/\p{C}/u.test(name));

for (const [type, { publicKey, privateKey }] of Object.entries(pairs)) {
  test(`a certificate of an ${type} key has the requested content, for the strict reader and for OpenSSL`, async () => {
    const named = policyKey('k', publicKey);
    assert.ok('spki' in named);
    const signer = keySigner({ public: named, private: privateKey });
    await fc.assert(
      fc.asyncProperty(anyName, anyTime, anyTime, async (name, from, until) => {
        const pem = await selfSignedCertificate(signer, name, from, until);
        const [read, other] = certificatesOfPem(pem);
        assert.ok(read !== undefined && other === undefined);
        assert.equal(commonNameOf(read), name);
        assert.deepEqual([read.notBefore, read.notAfter], [from.getTime(), until.getTime()]);
        assert.ok(isSelfSigned(read) && !read.isAuthority);
        // digitalSignature and keyEncipherment
        assert.equal(read.keyUsage, keyUsageBit.digitalSignature | (1 << 2));
        assert.deepEqual(read.extendedKeyUsage, ['1.3.6.1.5.5.7.3.3']);
        const openssl = new X509Certificate(pem);
        assert.ok(openssl.verify(publicKey) && openssl.raw.equals(read.raw));
      }),
      fuzzing(20_261_124, 50),
    );
  });
}
