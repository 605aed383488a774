import assert from 'node:assert/strict';
import type { KeyObject } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { createHttpServer } from '../../base/connections/index.ts';
import type { Destination } from './destination.ts';
import { serviceDestination } from './to-service.ts';

/**
 * Runs a service that requires tokens and names its token service. Returns the requests to that token
 * service, and the login of each.
 */
async function asked(logged: boolean, realmOf: (port: number) => string): Promise<readonly string[]> {
  const logins: string[] = [];
  const server = createHttpServer((request, response) => {
    const { authorization = '' } = request.headers;
    if (request.url?.startsWith('/token') === true) {
      logins.push(`${request.headers.host?.split(':')[0] ?? ''} ${authorization}`);
      response.end(JSON.stringify({ token: 'good' }));
      return;
    }
    const challenge = `Bearer realm="${realmOf((server.address() as AddressInfo).port)}",service="s",scope="repository:app:push,pull"`;
    if (authorization === 'Bearer good') response.end();
    else response.writeHead(401, { 'www-authenticate': challenge }).end();
  });
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  try {
    const { port } = server.address() as AddressInfo;
    const find = () => Promise.resolve({ username: 'owner', password: 'secret' });
    const service = serviceDestination(`http://127.0.0.1:${port}`, 'app', find);
    const published = service.publish([{ dialect: 'tuf', lacking: [], all: [] }]);
    if (logged) await published;
    else await assert.rejects(published, { code: 'TRUST_AUTHOR_REFUSED' });
    return logins;
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

/** Runs a service that gives this answer to every request, and records the requests. */
async function answering<T>(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  body: (service: Destination, asked: readonly string[]) => Promise<T>,
): Promise<T> {
  const seen: string[] = [];
  const server = createHttpServer((request, response) => {
    seen.push(`${request.method ?? ''} ${request.url ?? ''} ${request.headers.authorization ?? '-'}`);
    answer(request, response);
  });
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  try {
    const { port } = server.address() as AddressInfo;
    return await body(
      serviceDestination(`http://127.0.0.1:${port}/`, 'r.example/a', () => Promise.resolve(undefined)),
      seen,
    );
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

function keyOf(
  service: Destination,
  ...words: Parameters<NonNullable<Destination['serverKey']>>
): Promise<KeyObject> {
  assert.ok(service.serverKey);
  return service.serverKey(...words);
}

const login = `Basic ${Buffer.from('owner:secret').toString('base64')}`;

test('a login goes to the token service that is named, on this machine', async () => {
  assert.deepEqual(await asked(true, (port) => `http://127.0.0.1:${port}/token`), [`127.0.0.1 ${login}`]);
});

test('a login is sent to no other host in clear text, and over no other scheme', async () => {
  // 0.0.0.0 also reaches this machine, but is not its loopback address.
  assert.deepEqual(await asked(false, (port) => `http://0.0.0.0:${port}/token`), []);
  assert.deepEqual(await asked(false, (port) => `ftp://127.0.0.1:${port}/token`), []);
});

test('a service whose answer contains no key is refused, whatever it answers', async () => {
  const answers = [
    '',
    'not JSON',
    'null',
    '[]',
    '{}',
    '{"keytype":"ed25519"}',
    '{"keytype":7,"scheme":1,"keyval":{"public":[]}}',
  ];
  for (const text of answers)
    for (const dialect of ['tuf', 'notary'] as const)
      await answering(
        (_request, response) => response.end(text),
        (service) =>
          assert.rejects(
            keyOf(service, dialect, 'timestamp', false),
            { code: 'TRUST_AUTHOR_REFUSED' },
            `${dialect} ${text}`,
          ),
      );
});

test('a key is requested at the address of the dialect, and recreated by POST', async () => {
  const raw = Buffer.alloc(32, 7);
  const entry = {
    keytype: 'ed25519',
    scheme: 'ed25519',
    keyval: { private: null, public: raw.toString('hex') },
  };
  const notary = { keytype: 'ed25519', keyval: { private: null, public: raw.toString('base64') } };
  await answering(
    (request, response) =>
      response.end(JSON.stringify(request.url?.startsWith('/tuf/') === true ? entry : notary)),
    async (service, asked) => {
      for (const key of [
        await keyOf(service, 'tuf', 'snapshot', false),
        await keyOf(service, 'notary', 'timestamp', true),
      ])
        assert.deepEqual(key.export({ format: 'der', type: 'spki' }).subarray(-32), raw);
      assert.deepEqual(asked, [
        'GET /tuf/r.example/a/snapshot.key -',
        'POST /v2/r.example/a/_trust/tuf/timestamp.key -',
      ]);
    },
  );
});

test('a refusal comes with the service’s own words, of bounded length', async () => {
  const body = JSON.stringify({
    errors: [
      { code: 'INVALID_UPDATE', message: 'no', detail: { Name: 'ErrBadRoot', long: 'x'.repeat(5000) } },
    ],
  });
  await answering(
    (_request, response) => response.writeHead(400).end(body),
    (service) =>
      assert.rejects(service.publish([{ dialect: 'notary', lacking: [], all: [] }]), (error: Error) => {
        assert.match(error.message, /answered 400: INVALID_UPDATE: no \{"Name":"ErrBadRoot"/u);
        return error.message.length < 1500;
      }),
  );
});

test('a service with newer files says that another publisher came first', async () => {
  const body = JSON.stringify({ errors: [{ code: 'VERSION', message: 'A newer version', detail: {} }] });
  await answering(
    (_request, response) => response.writeHead(400).end(body),
    (service) =>
      assert.rejects(service.publish([{ dialect: 'tuf', lacking: [], all: [] }]), {
        code: 'TRUST_AUTHOR_BEHIND',
        message: /answered 400: VERSION: A newer version.*publish again/u,
      }),
  );
});

test('a refusal whose words are no text is reported as the service wrote it', async () => {
  const body = JSON.stringify({ errors: [{ code: {}, message: ['no'] }] });
  await answering(
    (_request, response) => response.writeHead(400).end(body),
    (service) =>
      assert.rejects(service.publish([{ dialect: 'notary', lacking: [], all: [] }]), (error: Error) =>
        error.message.includes(`answered 400: ${body}`),
      ),
  );
});

test('an invalid token counts as no token: the refusal of the service is reported', async () => {
  for (const token of ['not JSON', '[]', '{}', '{"token":7}'])
    await answering(
      (request, response) => {
        if (request.url?.startsWith('/token') === true) response.end(token);
        else
          response
            .writeHead(401, {
              'www-authenticate': `Bearer realm="http://${request.headers.host ?? ''}/token",service="s"`,
            })
            .end();
      },
      (service) =>
        assert.rejects(
          service.publish([{ dialect: 'tuf', lacking: [], all: [] }]),
          { code: 'TRUST_AUTHOR_REFUSED' },
          token,
        ),
    );
});

test('files go in one request, each under its role and dialect, byte for byte', async () => {
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, at) => at));
  let body = Buffer.alloc(0);
  await answering(
    (request, response) => {
      request.on('data', (chunk: Buffer) => (body = Buffer.concat([body, chunk])));
      request.on('end', () => response.end());
    },
    async (service, asked) => {
      const lacking = [{ role: 'targets/releases', version: 1, bytes }];
      await service.publish([
        { dialect: 'tuf', lacking, all: lacking },
        { dialect: 'notary', lacking, all: lacking },
      ]);
      assert.deepEqual(asked, ['POST /tuf/r.example/a/ -']);
    },
  );
  const heads = [...body.toString('latin1').matchAll(/name="(\w+)"; filename="([^"]+)"/gu)].map(
    ([, field, role]) => `${field ?? ''} ${role ?? ''}`,
  );
  assert.deepEqual(heads, ['files targets/releases', 'notary targets/releases']);
  assert.equal(body.toString('latin1').split(bytes.toString('latin1')).length, 3);
});
