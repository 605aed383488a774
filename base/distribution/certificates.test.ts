import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { makeCertificate } from '../../test/fixtures/certificate.ts';
import { createRegistryClient } from './index.ts';
import type { RegistryClientOptions } from './index.ts';

/** A TLS registry with its own authority, which may require a client certificate. */
describe('certificates by host', () => {
  let folder = '';
  let server: Server;
  let host = '';
  const seen: string[] = [];
  const issue = (name: string, extension: string): void => {
    makeCertificate(folder, name, {
      more: ['-addext', extension, '-CA', join(folder, 'ca.pem'), '-CAkey', join(folder, 'ca.key')],
    });
  };

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'certificates-'));
    makeCertificate(folder, 'ca');
    issue('server', 'subjectAltName=IP:127.0.0.1');
    issue('client', 'extendedKeyUsage=clientAuth');
    const [key, cert, ca] = await Promise.all(
      ['server.key', 'server.pem', 'ca.pem'].map((name) => readFile(join(folder, name))),
    );
    server = createServer(
      { key, cert, ca, requestCert: true, rejectUnauthorized: false },
      (request, response) => {
        seen.push(
          'authorized' in request.socket && request.socket.authorized === true
            ? 'with certificate'
            : 'without',
        );
        if (request.method === 'POST') response.writeHead(202, { location: `http://${host}/upload` }).end();
        else response.writeHead(404).end();
      },
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  after(async () => {
    server.closeAllConnections();
    server.close();
    await rm(folder, { recursive: true });
  });

  const ask = async (
    files: Readonly<Record<string, string>>,
    registry = host,
    tls?: RegistryClientOptions['tls'],
  ): Promise<string> => {
    const certs = await mkdtemp(join(folder, 'certs.d-'));
    await mkdir(join(certs, host));
    for (const [name, from] of Object.entries(files))
      await writeFile(
        join(certs, host, name),
        from.includes('-') ? from : await readFile(join(folder, from)),
      );
    const client = createRegistryClient({
      certificateFolders: [join(certs, 'absent'), certs],
      ...(tls === undefined ? {} : { tls }),
      rules: new Map([['mirrored', { mirrors: [{ url: `https://${host}` }], origin: false }]]),
    });
    try {
      const [place] = client.repositories({ registry, repository: 'app' });
      assert.ok(place);
      await place.resolve('1');
      return 'found';
    } catch (error) {
      return (error as Error).message;
    } finally {
      await client.close();
    }
  };

  it('an authority of the host is trusted, and the host is contacted over TLS', async () => {
    assert.match(await ask({ 'ca.crt': 'ca.pem' }), /DISTRIBUTION_NOT_FOUND/);
    assert.equal(seen.at(-1), 'without');
  });
  it('an upload address of plain HTTP is refused with what to configure', async () => {
    const client = createRegistryClient({ tls: new Map([[host, { ca: [join(folder, 'ca.pem')] }]]) });
    try {
      const [place] = client.repositories({ registry: host, repository: 'app' });
      await assert.rejects(place?.pushBlob(Buffer.from('x')) ?? Promise.resolve(), {
        code: 'DISTRIBUTION_BAD_ANSWER',
        message: /, but http:\/\/127\.0\.0\.1:\d+; .*X-Forwarded-Proto/,
      });
    } finally {
      await client.close();
    }
  });
  it('a client certificate is sent', async () => {
    assert.match(
      await ask({ 'ca.crt': 'ca.pem', 'me.cert': 'client.pem', 'me.key': 'client.key' }),
      /DISTRIBUTION_NOT_FOUND/,
    );
    assert.equal(seen.at(-1), 'with certificate');
  });
  it('a mirror has its own certificates', async () => {
    assert.match(await ask({ 'ca.crt': 'ca.pem' }, 'mirrored'), /DISTRIBUTION_NOT_FOUND/);
  });
  it('can be configured for the host, with a client certificate and its key in one file', async () => {
    const both = join(folder, 'both.pem');
    await writeFile(
      both,
      Buffer.concat(
        await Promise.all(['client.pem', 'client.key'].map((name) => readFile(join(folder, name)))),
      ),
    );
    const tls = new Map([[host, { ca: [join(folder, 'ca.pem')], client: { cert: both, key: both } }]]);
    assert.match(await ask({ 'ca.crt': 'no-certificate' }, host, tls), /DISTRIBUTION_NOT_FOUND/);
    assert.equal(seen.at(-1), 'with certificate');
    assert.match(
      await ask({}, host, new Map([[host, { ca: ['/dev/zero'] }]])),
      /zero.*not a regular file.*DISTRIBUTION_BAD_CERTIFICATES/,
    );
  });
  it('a host is not trusted without its authority, and the error names the file for it', async () => {
    assert.match(
      await ask({ 'me.cert': 'client.pem', 'me.key': 'client.key' }),
      /is not trusted here.*; put .* into \/etc\/containers\/certs\.d\/127\.0\.0\.1:\d+\/ca\.crt, .*DISTRIBUTION_UNREACHABLE/,
    );
  });
  for (const [says, files] of [
    [/me\.key.*the key of a client certificate is missing/, { 'ca.crt': 'ca.pem', 'me.cert': 'client.pem' }],
    [/ca\.crt.*contains no PEM certificate/, { 'ca.crt': 'no-certificate' }],
    [
      /me\.key.*not a readable PEM private key/,
      { 'ca.crt': 'ca.pem', 'me.cert': 'client.pem', 'me.key': '-----BEGIN PRIVATE KEY-----\nsecret\n' },
    ],
  ] as const) {
    it(`a mistake is reported: ${String(says)}`, async () => {
      const message = await ask(files);
      assert.match(message, says);
      assert.match(message, /DISTRIBUTION_BAD_CERTIFICATES/);
      assert.doesNotMatch(message, /secret/);
    });
  }
});
