import assert from 'node:assert/strict';
import { test } from 'node:test';
import { writePem } from '../../base/pem/index.ts';
import { rootNames, mayName } from '../tuf-requirement/root-names.ts';
import {
  attribute,
  buildCertificate,
  extension,
  nameOf,
  signerExtensions,
} from './fixtures/build-certificate.ts';
import type { Built } from './fixtures/build-certificate.ts';
import { pemOf } from './fixtures/carry-certificates.ts';
import { certificateBytesOfPem, certificatesOfPem } from './pem.ts';

/** Returns a Notary root whose only key is this certificate's. */
const rootOf = (built: Built): Buffer =>
  Buffer.from(
    JSON.stringify({
      signed: {
        keys: { a: { keytype: 'ecdsa-x509', keyval: { public: pemOf(built).toString('base64') } } },
        roles: { root: { keyids: ['a'] } },
      },
    }),
  );
const speaksFor = (built: Built): boolean => mayName(rootNames(rootOf(built)), 'registry.test/app');
const options = { extensions: signerExtensions() };

test('a Notary root is valid for the image that its certificate names, and for no other', () => {
  assert.ok(speaksFor(buildCertificate('registry.test/app', options)));
  assert.ok(speaksFor(buildCertificate('registry.test/*', options)));
  assert.ok(!speaksFor(buildCertificate('registry.test/other', options)));
});

test('a Notary root whose certificate cannot be read, or has two names or none, is valid for no image', () => {
  const critical = [...signerExtensions(), extension('1.2.3.4', Buffer.from([5, 0]), true)];
  assert.ok(!speaksFor(buildCertificate('registry.test/app', { extensions: critical })));
  const twice = nameOf('registry.test/app', attribute('2.5.4.3', 'registry.test/app'));
  assert.ok(!speaksFor(buildCertificate('x', { ...options, subject: twice })));
  assert.ok(!speaksFor(buildCertificate('x', { ...options, subject: Buffer.from([0x30, 0]) })));
});

test('every certificate of a PEM text is read, and none when a block is damaged', () => {
  const [one, two] = [buildCertificate('one', options), buildCertificate('two', options)];
  const key = writePem('PRIVATE KEY', Buffer.from('a'));
  const text = `# ours\n${pemOf(one).toString()}${key}${pemOf(two).toString()}`;
  assert.deepEqual(certificateBytesOfPem(text), [one.der, two.der]);
  assert.deepEqual(
    certificatesOfPem(Buffer.from(text)).map(({ subjectName }) => subjectName.text.includes('CN=one')),
    [true, false],
  );
  assert.deepEqual(certificatesOfPem(key), []);
  assert.throws(() => certificatesOfPem(text.slice(0, -10)), /damaged/u);
  assert.throws(() => certificatesOfPem(writePem('CERTIFICATE', one.der.subarray(1))), { name: 'Error' });
});
