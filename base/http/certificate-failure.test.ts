import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createServer } from 'node:tls';
import { makeCertificate } from '../../test/fixtures/certificate.ts';
import type { CertificateFiles } from '../../test/fixtures/certificate.ts';
import { certificateFailure } from './certificate-failure.ts';
import { createHttpClient } from './index.ts';

describe('a certificate that a client refuses', () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-refused-'));
  });
  after(() => rmSync(folder, { recursive: true }));

  /** Returns the failure of a request to a server with this certificate. The client trusts it, or another. */
  async function failureOf(
    files: CertificateFiles,
    trusted: boolean | CertificateFiles,
  ): Promise<{ readonly why: string; readonly fix: string }> {
    const server = createServer({ key: readFileSync(files.key), cert: readFileSync(files.certificate) });
    server.on('tlsClientError', () => undefined).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { certificate } = typeof trusted === 'object' ? trusted : files;
    const client = createHttpClient({
      environment: trusted === false ? {} : { SSL_CERT_FILE: certificate },
    });
    try {
      const url = new URL(`https://127.0.0.1:${(server.address() as AddressInfo).port}/`);
      await client.send({ url, totalMs: 10_000 });
      assert.fail('the certificate was accepted');
    } catch (thrown) {
      const { code, failure } = thrown as { code: string; failure: { why: string; fix: string } };
      assert.equal(code, 'HTTP_UNREACHABLE');
      return { why: failure.why.replace(/^127\.0\.0\.1:\d+: /u, ''), fix: failure.fix };
    } finally {
      await client.close();
      server.close();
    }
  }

  it('because nobody trusts its authority is reported without advice for programmers', async () => {
    const files = makeCertificate(folder, 'self', { more: ['-addext', 'subjectAltName=IP:127.0.0.1'] });
    const { why, fix } = await failureOf(files, false);
    assert.equal(why, 'its certificate is self-signed, and is not trusted here');
    assert.match(fix, /^trust the authority that issued the certificate: .*--ca-file/u);
  });

  it('because it is for another name is reported with its names', async () => {
    const files = makeCertificate(folder, 'named', { more: ['-addext', 'subjectAltName=DNS:fleet.example'] });
    const { why, fix } = await failureOf(files, true);
    assert.equal(why, 'its certificate is for other names (DNS:fleet.example)');
    assert.match(fix, /a name that the certificate contains/u);
  });

  it('because of its contents is reported with advice about the certificate', async () => {
    const forServer = 'subjectAltName=IP:127.0.0.1';
    const purpose = ['-addext', forServer, '-addext', 'extendedKeyUsage=clientAuth'];
    const client = await failureOf(makeCertificate(folder, 'client', { more: purpose }), true);
    assert.equal(client.why, 'its certificate, or that of its issuer, is for another purpose');
    assert.match(client.fix, /^give the server a certificate for servers/u);
    const critical = ['-addext', forServer, '-addext', '1.2.3.4=critical,ASN1:UTF8String:x'];
    const unknown = await failureOf(makeCertificate(folder, 'critical', { more: critical }), true);
    assert.equal(unknown.why, 'its certificate is not valid (unhandled critical extension)');
    assert.equal(unknown.fix, client.fix);
  });

  it('because its authority has the name and not the key of a trusted one is reported as untrusted', async () => {
    // Without identifiers of keys, which some authorities leave out, only the signature shows the difference.
    const config = join(folder, 'empty.cnf');
    writeFileSync(config, '[req]\ndistinguished_name = subject\n[subject]\n');
    const noIds = ['subjectKeyIdentifier=none', 'authorityKeyIdentifier=none'];
    const extensions = (...all: string[]): string[] => [
      ...['-config', config],
      ...[...noIds, ...all].flatMap((each) => ['-addext', each]),
    ];
    const authority = (name: string): CertificateFiles =>
      makeCertificate(folder, name, {
        commonName: 'authority',
        more: extensions('basicConstraints=critical,CA:TRUE'),
      });
    const [former, now] = [authority('former'), authority('now')];
    const issued = [...extensions('subjectAltName=IP:127.0.0.1'), '-CA', now.certificate, '-CAkey', now.key];
    const { why, fix } = await failureOf(makeCertificate(folder, 'issued', { more: issued }), former);
    assert.match(why, /is not by the authority of that name that is trusted here$/u);
    assert.match(fix, /^trust the authority that issued the certificate/u);
  });

  it('because its issuer may not issue it is reported with advice about the issuer', () => {
    for (const code of ['INVALID_CA', 'PATH_LENGTH_EXCEEDED'])
      assert.match(certificateFailure(new Error('x'), code)?.fix ?? '', /CA:TRUE/u);
    assert.match(certificateFailure(new Error('x'), 'CERT_CHAIN_TOO_LONG')?.fix ?? '', /^shorten/u);
  });

  it('is reported by each code of an authority, and a long list of names is cut', () => {
    const reasonOf = (code: string, more: object = {}): string =>
      certificateFailure(Object.assign(new Error('run Node.js with --use-system-ca'), more), code)?.why ??
      'none';
    for (const code of ['SELF_SIGNED_CERT_IN_CHAIN', 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY'])
      assert.equal(reasonOf(code), 'the authority that issued its certificate is not trusted here');
    assert.match(reasonOf('UNABLE_TO_VERIFY_LEAF_SIGNATURE'), /does not send the intermediate certificates/u);
    assert.equal(reasonOf('CERT_HAS_EXPIRED'), 'its certificate has expired');
    assert.equal(reasonOf('CERT_NOT_YET_VALID'), 'its certificate is not valid yet');
    assert.equal(reasonOf('ECONNREFUSED'), 'none');
    const long = reasonOf('ERR_TLS_CERT_ALTNAME_INVALID', {
      cert: { subjectaltname: 'DNS:x, '.repeat(9000) },
    });
    assert.ok(long.length < 300, String(long.length));
  });
});
