import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate, createPrivateKey } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeServerCertificate } from './certificate-writer.ts';
import { readCertificate } from './certificate.ts';

const names = ['portcullis-webhook.portcullis.svc', 'portcullis-webhook'] as const;
const [from, until] = [new Date('2026-01-01T00:00:00Z'), new Date('2051-01-01T00:00:00Z')];

test('a server certificate is valid for its names, under its authority, for openssl and for our reader', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-certificate-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const made = await makeServerCertificate({ names, from, until });
  for (const [name, text] of Object.entries<string>({ ...made })) writeFileSync(join(folder, name), text);
  for (const name of names)
    execFileSync(
      'openssl',
      [
        'verify',
        ...['-x509_strict', '-purpose', 'sslserver', '-verify_hostname', name],
        ...['-attime', '1800000000', '-CAfile', 'authority', 'certificate'],
      ],
      { cwd: folder },
    );
  assert.throws(() =>
    execFileSync(
      'openssl',
      [
        'verify',
        '-verify_hostname',
        'other.svc',
        '-attime',
        '1800000000',
        '-CAfile',
        'authority',
        'certificate',
      ],
      { cwd: folder, stdio: 'ignore' },
    ),
  );
  const certificate = new X509Certificate(made.certificate);
  assert.ok(certificate.checkPrivateKey(createPrivateKey(made.key)));
  assert.equal(certificate.validToDate.toISOString(), until.toISOString());
  for (const text of [made.certificate, made.authority])
    assert.doesNotThrow(() => readCertificate(new X509Certificate(text).raw));
});

test('no two authorities share a key', async () => {
  const both = await Promise.all([1, 2].map(() => makeServerCertificate({ names, from, until })));
  const keys = both.map(({ authority }) =>
    new X509Certificate(authority).publicKey.export({ type: 'spki', format: 'pem' }),
  );
  assert.notEqual(keys[0], keys[1]);
});
