import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { describe, test } from 'node:test';
import { buildCertificate, extension, signerExtensions } from '../../x509/fixtures/build-certificate.ts';
import { octets, oid } from '../../x509/der-writer.ts';
import { publicKeyOf } from './public-key.ts';

const curves = { 'P-256': '1.2.840.10045.3.1.7', 'P-384': '1.3.132.0.34', 'P-521': '1.3.132.0.35' } as const;
const token = { token: 'test' } as const;

function isKey(found: KeyObject | string, expected: KeyObject): void {
  assert.ok(typeof found !== 'string', 'it is a problem');
  assert.ok(found.equals(expected));
}

describe('the public key of a token', () => {
  for (const [name, identifier] of Object.entries(curves))
    test(`on ${name} is its point, in an OCTET STRING or bare`, () => {
      const { publicKey } = generateKeyPairSync('ec', { namedCurve: name });
      const { x = '', y = '' } = publicKey.export({ format: 'jwk' });
      const point = Buffer.concat([Buffer.of(4), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')]);
      for (const ecPoint of [octets(point), point])
        isKey(publicKeyOf({ ...token, type: 'ec', ecParams: oid(identifier), ecPoint }), publicKey);
      const wrong = [
        octets(point.subarray(1)),
        Buffer.concat([octets(point), Buffer.of(0)]),
        Buffer.alloc(0),
        point.fill(2, 0, 1),
      ];
      for (const ecPoint of wrong)
        assert.equal(
          typeof publicKeyOf({ ...token, type: 'ec', ecParams: oid(identifier), ecPoint }),
          'string',
        );
    });

  test('of Ed25519 is 32 bytes, in an OCTET STRING or bare', () => {
    const { publicKey } = generateKeyPairSync('ed25519');
    const raw = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url');
    for (const ecPoint of [octets(raw), raw])
      isKey(publicKeyOf({ ...token, type: 'ed', ecPoint }), publicKey);
    assert.equal(typeof publicKeyOf({ ...token, type: 'ed', ecPoint: raw.subarray(1) }), 'string');
  });

  test('is not on another curve', () => {
    const found = publicKeyOf({
      ...token,
      type: 'ec',
      ecParams: oid('1.3.132.0.10'),
      ecPoint: octets(Buffer.alloc(65, 4)),
    });
    assert.match(typeof found === 'string' ? found : 'a key', /none of P-256, P-384 and P-521/u);
  });

  test('is that of its certificate, which is read strictly', () => {
    const good = buildCertificate('good');
    isKey(
      publicKeyOf({ ...token, type: 'ec', certificate: good.der }),
      createPublicKey({ key: good.spki, format: 'der', type: 'spki' }),
    );
    const critical = buildCertificate('x', {
      extensions: [...signerExtensions(), extension('1.2.3.4', Buffer.from([5, 0]), true)],
    });
    assert.equal(
      publicKeyOf({ ...token, type: 'ec', certificate: critical.der }),
      'its public key cannot be read',
    );
  });
});
