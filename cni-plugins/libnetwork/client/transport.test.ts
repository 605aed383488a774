import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createSecured } from 'node:https';
import type { AddressInfo, Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { createHttpServer as createPlain } from '../../../base/connections/index.ts';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { makeCertificate } from '../../../test/fixtures/certificate.ts';
import type { DriverPlace, DriverTls } from './discover.ts';
import { exchange } from './transport.ts';

/** One request to a driver over TCP, in plain text and over TLS with certificates of both sides. */
const folder = mkdtempSync(join(tmpdir(), 'portcullis-transport-'));
const at = (name: string): string => join(folder, name);
const servers: Server[] = [];
after(async () => {
  for (const server of servers) await new Promise((resolve) => server.close(resolve));
  rmSync(folder, { recursive: true, force: true });
});
const listening = async (server: Server): Promise<number> => {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
};
const placeOf = (port: number, tls?: DriverTls): DriverPlace => ({
  driver: 'far',
  found: 'x',
  at: { host: '127.0.0.1', port, ...(tls && { tls }) },
});
const ask = (place: DriverPlace): Promise<unknown> =>
  exchange({ place, verb: 'Plugin.Activate', body: {}, timeoutMs: 5000 });
const codeOf = async (body: Promise<unknown>): Promise<string> => {
  try {
    await body;
  } catch (thrown) {
    if (isPortcullisError(thrown)) return thrown.code;
    throw thrown;
  }
  return 'none';
};

const noOpenssl = spawnSync('openssl', ['version']).status !== 0 && 'openssl is not installed';

test(
  'with TLS, the driver must present a certificate of the CA, and gets ours',
  { skip: noOpenssl },
  async () => {
    makeCertificate(folder, 'ca');
    for (const name of ['server', 'client'])
      makeCertificate(folder, name, {
        more: ['-addext', 'subjectAltName=IP:127.0.0.1', '-CA', at('ca.pem'), '-CAkey', at('ca.key')],
      });
    const read = (name: string): Buffer => readFileSync(at(name));
    const options = {
      key: read('server.key'),
      cert: read('server.pem'),
      ca: read('ca.pem'),
      requestCert: true,
      rejectUnauthorized: true,
    };
    const port = await listening(
      createSecured(options, (_request, response) => response.end('{"Implements":["NetworkDriver"]}')),
    );
    const whole = {
      insecureSkipVerify: false,
      caFile: at('ca.pem'),
      certFile: at('client.pem'),
      keyFile: at('client.key'),
    };
    assert.deepEqual(await ask(placeOf(port, whole)), { Implements: ['NetworkDriver'] });
    const { caFile: _ca, ...withoutCa } = whole;
    assert.equal(await codeOf(ask(placeOf(port, withoutCa))), 'NETWORK_CNM_DRIVER_UNREACHABLE');
    assert.deepEqual(await ask(placeOf(port, { ...withoutCa, insecureSkipVerify: true })), {
      Implements: ['NetworkDriver'],
    });
    assert.equal(
      await codeOf(ask(placeOf(port, { insecureSkipVerify: false, caFile: at('ca.pem') }))),
      'NETWORK_CNM_DRIVER_UNREACHABLE',
    );
    assert.equal(
      await codeOf(ask(placeOf(port, { ...whole, keyFile: at('none.key') }))),
      'NETWORK_CNM_DRIVER_UNREACHABLE',
    );
    assert.equal(await codeOf(ask(placeOf(port))), 'NETWORK_CNM_DRIVER_UNREACHABLE');
  },
);

test('any answer results in an object, or in an error that names driver and verb', async () => {
  let next = { status: 200, text: '' };
  const port = await listening(
    createPlain((_request, response) => response.writeHead(next.status).end(next.text)),
  );
  const err = fc.record({ Err: fc.oneof(fc.string(), fc.jsonValue()) }).map((value) => JSON.stringify(value));
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(200, 201, 400, 404, 500, 503),
      fc.oneof(fc.string(), fc.json(), err),
      async (status, text) => {
        next = { status, text };
        try {
          const reply = await ask(placeOf(port));
          assert.equal(status, 200);
          assert.ok(typeof reply === 'object' && reply !== null && !Array.isArray(reply));
        } catch (thrown) {
          if (!isPortcullisError(thrown)) throw thrown;
          assert.match(thrown.code, /^NETWORK_CNM_(?:DRIVER_REFUSED|VERB_UNKNOWN|PROTOCOL)$/u);
          assert.ok(thrown.message.includes('far') && thrown.message.includes('Plugin.Activate'));
        }
      },
    ),
    { seed: 13, numRuns: 150 },
  );
  next = { status: 200, text: `{"Value":"${'x'.repeat(2 * 1024 * 1024)}"}` };
  assert.equal(await codeOf(ask(placeOf(port))), 'NETWORK_CNM_DRIVER_UNREACHABLE');
});

test('the error of a driver that hangs up, or never existed, says whether the request was sent', async () => {
  const server = createPlain((request) => request.socket.destroy());
  const port = await listening(server);
  const sentTo = async (to: number): Promise<unknown> => {
    try {
      return await ask(placeOf(to));
    } catch (thrown) {
      return isPortcullisError(thrown) ? thrown.failure.details?.['sent'] : thrown;
    }
  };
  assert.equal(await sentTo(port), true);
  await new Promise((resolve) => server.close(resolve));
  servers.splice(servers.indexOf(server), 1);
  assert.equal(await sentTo(port), false);
});
