import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { makeCertificate } from '../../../test/fixtures/certificate.ts';
import { openCredentials } from './credentials.ts';

describe('credentials for etcd', () => {
  let folder = '';
  let [ca, key] = ['', ''];
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-credentials-'));
    const files = makeCertificate(folder, 'ca');
    [ca, key] = [readFileSync(files.certificate, 'utf8'), readFileSync(files.key, 'utf8')];
  });
  after(() => rmSync(folder, { recursive: true }));

  it('require complete certificates of all authorities', () => {
    assert.equal(openCredentials({ ca: `# ours\n${ca}${ca}` }).current().ca, `# ours\n${ca}${ca}`);
    const half = ca.slice(0, ca.length / 2);
    for (const text of ['', 'ours', half, `${ca}${half}`, `${half}\n${ca}`, `${ca}${key}`])
      assert.throws(
        () => openCredentials({ ca: text }),
        /file of certificate authorities is not complete/u,
        text,
      );
    const other = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
    assert.throws(() => openCredentials({ ca: `${ca}${other}` }), /not a readable certificate/u);
  });

  it('require a certificate with its own key, or neither', () => {
    openCredentials({ cert: ca, key }).close();
    const { key: another } = makeCertificate(folder, 'another');
    assert.throws(
      () => openCredentials({ cert: ca, key: readFileSync(another, 'utf8') }),
      /does not belong to the key/u,
    );
    assert.throws(() => openCredentials({ cert: ca }), /must be given together/u);
  });
});
