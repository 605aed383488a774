import assert from 'node:assert/strict';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterEach, describe, it } from 'node:test';
import { serveHttp } from '../../test/fixtures/registry.ts';
import type { TestServer } from '../../test/fixtures/registry.ts';
import { createRegistryClient, digestOf, mediaTypes, parseReference } from './index.ts';
import type { Credentials, RegistryClient, RegistryRepository } from './index.ts';

const blob = { mediaType: 'application/x', digest: digestOf('x'), size: 1 };
const manifest = JSON.stringify({
  schemaVersion: 2,
  mediaType: mediaTypes.ociManifest,
  config: blob,
  layers: [],
});
const user: Credentials = { username: 'ann', password: 'pass:word' };
const basic = `Basic ${Buffer.from('ann:pass:word').toString('base64')}`;

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of opened.splice(0).toReversed()) await one.close();
});

async function serve(
  handler: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<TestServer> {
  const server = await serveHttp(handler);
  opened.push(server);
  return server;
}

/** Starts a registry that requires tokens of `service`, and accepts the tokens in `accepted`. */
function tokenRegistry(
  service: () => string,
  accepted: ReadonlySet<string>,
): (request: IncomingMessage, response: ServerResponse) => void {
  return (request, response) => {
    if (accepted.has(request.headers.authorization ?? '')) {
      response.writeHead(200, { 'content-type': mediaTypes.ociManifest }).end(manifest);
    } else {
      const [, name] = /^\/v2\/(.*)\/manifests\//.exec(request.url ?? '') ?? [];
      response
        .writeHead(401, {
          'www-authenticate': `Bearer realm="${service()}/token",service="reg & co",scope="repository:${name ?? ''}:pull"`,
        })
        .end();
    }
  };
}

function clientOf(): RegistryClient {
  const client = createRegistryClient();
  opened.push(client);
  return client;
}

function repositoryOf(
  client: RegistryClient,
  server: TestServer,
  name: string,
  credentials?: Credentials,
): RegistryRepository {
  const [repository] = client.repositories(parseReference(`${server.host}/${name}`), credentials);
  assert.ok(repository !== undefined);
  return repository;
}

describe('a registry that requires tokens', () => {
  it('takes the access token if the token is empty', async () => {
    const service = await serve((_request, response) => {
      response.writeHead(200).end(JSON.stringify({ token: '', access_token: 'given' }));
    });
    const registry = await serve(tokenRegistry(() => service.url, new Set(['Bearer given'])));
    const repository = repositoryOf(clientOf(), registry, 'app');
    assert.equal((await repository.manifest('1')).digest, digestOf(manifest));
  });

  /** Issues token-1, token-2, … for GET, with the given lifetime. */
  async function setUp(
    life: number | undefined = 300,
  ): Promise<{ registry: TestServer; tokens: TestServer; accepted: Set<string> }> {
    const accepted = new Set<string>();
    let given = 0;
    const tokens = await serve((request, response) => {
      request.resume().on('end', () => {
        const token = `token-${++given}`;
        accepted.add(`Bearer ${token}`);
        response
          .writeHead(200, { 'content-type': 'application/json' })
          .end(JSON.stringify({ token, ...(life === undefined ? {} : { expires_in: life }) }));
      });
    });
    const registry = await serve(tokenRegistry(() => tokens.url, accepted));
    return { registry, tokens, accepted };
  }

  it('gets a token that was fetched with the password, but never the password', async () => {
    const { registry, tokens } = await setUp();
    const repository = repositoryOf(clientOf(), registry, 'team/app', user);
    await repository.manifest('1');
    await repository.manifest('1');
    assert.deepEqual(tokens.requests, [
      {
        method: 'GET',
        path: '/token?service=reg+%26+co&scope=repository%3Ateam%2Fapp%3Apull',
        authorization: basic,
      },
    ]);
    assert.deepEqual(
      registry.requests.map((one) => one.authorization),
      [undefined, 'Bearer token-1', 'Bearer token-1'],
    );
  });

  it('gets an anonymous token when there is no password', async () => {
    const { registry, tokens } = await setUp();
    await repositoryOf(clientOf(), registry, 'app').manifest('1');
    assert.equal(tokens.requests[0]?.authorization, undefined);
  });

  it('gets one token for all concurrent requests of the same repository and user', async () => {
    const { registry, tokens } = await setUp();
    const client = clientOf();
    const repository = repositoryOf(client, registry, 'app', user);
    await Promise.all(Array.from({ length: 5 }, () => repository.manifest('1')));
    assert.equal(tokens.requests.length, 1);
    await repositoryOf(client, registry, 'app', user).manifest('1');
    assert.equal(tokens.requests.length, 1);
    await repositoryOf(client, registry, 'other', user).manifest('1');
    await repositoryOf(client, registry, 'app', { ...user, password: 'another' }).manifest('1');
    await repositoryOf(client, registry, 'app').manifest('1');
    assert.equal(tokens.requests.length, 4, 'a token is never shared between repositories or users');
  });

  it('does not hold a caller that cancels while the token service is silent', async () => {
    const silent: ServerResponse[] = [];
    const tokens = await serve((_, response) => void silent.push(response));
    const registry = await serve(tokenRegistry(() => tokens.url, new Set(['Bearer late'])));
    const repository = repositoryOf(clientOf(), registry, 'app', user);
    const cancelled = new AbortController();
    const [first, second] = [repository.manifest('1', cancelled.signal), repository.manifest('1')];
    while (silent.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    cancelled.abort();
    await assert.rejects(first, { code: 'DISTRIBUTION_CANCELLED' });
    silent[0]?.end(JSON.stringify({ token: 'late' }));
    await second;
    assert.equal(tokens.requests.length, 1, 'the other caller gets the same token');
  });

  it('is not named if its token service exceeds the time limit', async () => {
    const limit = new AbortController();
    const tokens = await serve((_, response) => {
      response.writeHead(200).write('{');
      limit.abort(new DOMException('too late', 'TimeoutError'));
    });
    const registry = await serve(tokenRegistry(() => tokens.url, new Set()));
    await assert.rejects(repositoryOf(clientOf(), registry, 'app', user).manifest('1', limit.signal), {
      code: 'DISTRIBUTION_UNREACHABLE',
      message: new RegExp(`the request to ${tokens.host} exceeded its time limit`),
    });
  });

  it('gets a new token when the old token has expired or is refused', async () => {
    const short = await setUp(2);
    const repository = repositoryOf(clientOf(), short.registry, 'app', user);
    await repository.manifest('1');
    await new Promise((resolve) => setTimeout(resolve, 2050));
    await repository.manifest('1');
    assert.equal(short.tokens.requests.length, 2);

    const { registry, tokens, accepted } = await setUp();
    const other = repositoryOf(clientOf(), registry, 'app', user);
    await other.manifest('1');
    accepted.clear();
    await other.manifest('1');
    assert.equal(tokens.requests.length, 2);
  });

  it('gets an access token for an identity token, which is sent only in a body', async () => {
    let body = '';
    const tokens = await serve((request, response) => {
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => response.writeHead(200).end(JSON.stringify({ access_token: 'exchanged' })));
    });
    const registry = await serve(tokenRegistry(() => tokens.url, new Set(['Bearer exchanged'])));
    await repositoryOf(clientOf(), registry, 'app', { identityToken: 'refresh/me' }).manifest('1');
    assert.deepEqual(tokens.requests, [{ method: 'POST', path: '/token', authorization: undefined }]);
    assert.deepEqual(Object.fromEntries(new URLSearchParams(body)), {
      service: 'reg & co',
      scope: 'repository:app:pull',
      grant_type: 'refresh_token',
      refresh_token: 'refresh/me',
      client_id: 'portcullis',
    });
  });

  it('gets a registry token unchanged, in the first request', async () => {
    const registry = await serve(tokenRegistry(() => 'http://127.0.0.1:1', new Set(['Bearer given'])));
    await repositoryOf(clientOf(), registry, 'app', { registryToken: 'given' }).manifest('1');
    assert.deepEqual(
      registry.requests.map((one) => one.authorization),
      ['Bearer given'],
    );
    await assert.rejects(
      repositoryOf(clientOf(), registry, 'app', { registryToken: 'wrong' }).manifest('1'),
      {
        code: 'DISTRIBUTION_UNAUTHORIZED',
      },
    );
  });

  it('is not asked again if it refuses a new token', async () => {
    const { tokens } = await setUp();
    const registry = await serve(tokenRegistry(() => tokens.url, new Set()));
    await assert.rejects(repositoryOf(clientOf(), registry, 'app', user).manifest('1'), {
      code: 'DISTRIBUTION_UNAUTHORIZED',
      kind: 'denied',
    });
    assert.equal(registry.requests.length, 2);
  });

  const badServices: readonly (readonly [
    name: string,
    answer: (response: ServerResponse) => void,
    code: string,
  ])[] = [
    [
      'says no',
      (response) => void response.writeHead(401).end('{"errors":[{"code":"DENIED","message":"go away"}]}'),
      'DISTRIBUTION_UNAUTHORIZED',
    ],
    ['answers HTML', (response) => void response.writeHead(200).end('<html>'), 'DISTRIBUTION_BAD_ANSWER'],
    ['answers null', (response) => void response.writeHead(200).end('null'), 'DISTRIBUTION_BAD_ANSWER'],
    [
      'gives a token that would split a header',
      (response) => void response.writeHead(200).end('{"token":"a\\r\\nx: y"}'),
      'DISTRIBUTION_BAD_ANSWER',
    ],
    ['redirects nowhere', (response) => void response.writeHead(302).end(), 'DISTRIBUTION_BAD_REDIRECT'],
    ['is broken', (response) => void response.writeHead(500).end(), 'DISTRIBUTION_UNREACHABLE'],
    ['is down', (response) => void response.writeHead(503).end(), 'DISTRIBUTION_UNREACHABLE'],
    [
      'has too many requests',
      (response) => void response.writeHead(429, { 'retry-after': '60' }).end(),
      'DISTRIBUTION_UNREACHABLE',
    ],
    [
      'sends megabytes',
      (response) => void response.writeHead(200).end(Buffer.alloc(1 << 20, 'x')),
      'DISTRIBUTION_BAD_ANSWER',
    ],
  ];
  for (const [name, answer, code] of badServices) {
    it(`is reported without the password if its token service ${name}`, async () => {
      const tokens = await serve((_request, response) => answer(response));
      const registry = await serve(tokenRegistry(() => tokens.url, new Set()));
      await assert.rejects(
        repositoryOf(clientOf(), registry, 'app', user).manifest('1'),
        (error: Error & { code?: string }) => {
          assert.equal(error.code, code, error.message);
          assert.ok(!JSON.stringify([error.message, error.stack, error]).includes('pass:word'));
          return true;
        },
      );
    });
  }

  it('is refused if its token service on another host would receive the password over plain HTTP', async () => {
    for (const [realm, why] of [
      ['http://tokens.example.com', /plain HTTP/],
      ['ftp://127.0.0.1', /not an http or https URL/],
      ['http://a:b@127.0.0.1', /address contains credentials/],
    ] as const) {
      const registry = await serve(tokenRegistry(() => realm, new Set()));
      await assert.rejects(repositoryOf(clientOf(), registry, 'app', user).manifest('1'), {
        code: 'DISTRIBUTION_UNAUTHORIZED',
        message: why,
      });
    }
  });

  it('is reported if it requires an unsupported type of authentication', async () => {
    for (const header of ['Negotiate', undefined]) {
      const registry = await serve(
        (_request, response) =>
          void response.writeHead(401, header === undefined ? {} : { 'www-authenticate': header }).end(),
      );
      await assert.rejects(repositoryOf(clientOf(), registry, 'app', user).manifest('1'), {
        code: 'DISTRIBUTION_UNAUTHORIZED',
        message: /an unsupported type of authentication/,
      });
    }
  });
});

describe('a password', () => {
  it('is requested once for each registry', async () => {
    const registry = await serve((request, response) => {
      if (request.headers.authorization === basic)
        response.writeHead(200, { 'content-type': mediaTypes.ociManifest }).end(manifest);
      else response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
    });
    const client = clientOf();
    await repositoryOf(client, registry, 'one', user).manifest('1');
    await repositoryOf(client, registry, 'two', user).manifest('1');
    assert.deepEqual(
      registry.requests.map((one) => one.authorization),
      [undefined, basic, basic],
    );
  });

  it('is sent if another header names another type of authentication first', async () => {
    const registry = await serve((request, response) => {
      if (request.headers.authorization === basic)
        response.writeHead(200, { 'content-type': mediaTypes.ociManifest }).end(manifest);
      else response.writeHead(401, { 'www-authenticate': ['Negotiate', 'Basic realm="x"'] }).end();
    });
    await repositoryOf(clientOf(), registry, 'one', user).manifest('1');
    assert.equal(registry.requests.at(-1)?.authorization, basic);
  });

  it('is not sent to a registry that does not require it', async () => {
    const registry = await serve(
      (_request, response) =>
        void response.writeHead(200, { 'content-type': mediaTypes.ociManifest }).end(manifest),
    );
    await repositoryOf(clientOf(), registry, 'app', user).manifest('1');
    assert.deepEqual(
      registry.requests.map((one) => one.authorization),
      [undefined],
    );
  });
});

describe('a redirect', () => {
  it('to another host carries no authorization, and a challenge from that host is not answered', async () => {
    let status = 200;
    const storage = await serve(
      (_request, response) =>
        void response
          .writeHead(status, { 'www-authenticate': 'Basic realm="x"', 'content-length': 1 })
          .end('x'),
    );
    const registry = await serve((request, response) => {
      if (request.headers.authorization === undefined)
        response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
      else response.writeHead(307, { location: `${storage.url}/data?signed=1` }).end();
    });
    const repository = repositoryOf(clientOf(), registry, 'app', user);
    assert.equal(Buffer.from(await repository.blobBytes(blob, 10)).toString(), 'x');
    status = 401;
    await assert.rejects(repository.blobBytes(blob, 10), {
      code: 'DISTRIBUTION_UNAUTHORIZED',
      message: new RegExp(`${storage.host} answers 401`),
    });
    assert.deepEqual(storage.requests, [
      { method: 'GET', path: '/data?signed=1', authorization: undefined },
      { method: 'GET', path: '/data?signed=1', authorization: undefined },
    ]);
  });

  it('within the host keeps the authorization', async () => {
    const registry = await serve((request, response) => {
      if (request.headers.authorization === undefined)
        response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
      else if (request.url === '/moved') response.writeHead(200, { 'content-length': 1 }).end('x');
      else response.writeHead(302, { location: '/moved' }).end();
    });
    await repositoryOf(clientOf(), registry, 'app', user).blobBytes(blob, 10);
    assert.equal(registry.requests.at(-1)?.authorization, basic);
  });

  it('is refused if it has no end, leads to plain HTTP elsewhere, or is not http or https', async () => {
    let location = '/again';
    const registry = await serve((_request, response) => void response.writeHead(302, { location }).end());
    const repository = repositoryOf(clientOf(), registry, 'app');
    await assert.rejects(repository.blob(blob), {
      code: 'DISTRIBUTION_BAD_REDIRECT',
      message: /more than 5/,
    });
    assert.equal(registry.requests.length, 6);
    location = 'file:///etc/passwd';
    await assert.rejects(repository.blob(blob), {
      code: 'DISTRIBUTION_BAD_REDIRECT',
      message: /not http or https/,
    });
    location = 'http://storage.example.com/x';
    await assert.rejects(repository.blob(blob), { code: 'DISTRIBUTION_UNREACHABLE', message: /plain HTTP/ });
  });

  it('of an upload is not followed, and the content is not sent to another host', async () => {
    const elsewhere = await serve((_request, response) => void response.writeHead(201).end());
    const registry = await serve((request, response) => {
      request.resume();
      response
        .writeHead(request.method === 'POST' ? 202 : 404, { location: `${elsewhere.url}/upload` })
        .end();
    });
    await assert.rejects(repositoryOf(clientOf(), registry, 'app', user).pushBlob(Buffer.from('x')), {
      code: 'DISTRIBUTION_BAD_ANSWER',
      message: /no upload address at its own origin/,
    });
    assert.deepEqual(elsewhere.requests, []);
  });
});

describe('mirrors', () => {
  const answering = (response: ServerResponse): void =>
    void response.writeHead(200, { 'content-type': mediaTypes.ociManifest }).end(manifest);

  it('are used before the origin, with their own prefix and credentials', async () => {
    const mirror = await serve((request, response) => {
      if (request.headers.authorization === basic) answering(response);
      else response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
    });
    const reference = parseReference('busybox:1');
    const theirs = { username: 'origin', password: 'secret' };
    for (const credentials of [undefined, user]) {
      const client = createRegistryClient({
        rules: new Map([
          [
            'docker.io',
            {
              mirrors: [{ url: `${mirror.url}/hub/`, ...(credentials === undefined ? {} : { credentials }) }],
            },
          ],
        ]),
      });
      opened.push(client);
      const places = client.repositories(reference, theirs);
      assert.deepEqual(
        places.map(({ host, repository }) => [host, repository]),
        [
          [mirror.host, 'hub/library/busybox'],
          ['registry-1.docker.io', 'library/busybox'],
        ],
      );
      const asked = places[0]?.manifest('1');
      if (credentials === undefined)
        await assert.rejects(asked ?? Promise.resolve(), { code: 'DISTRIBUTION_UNAUTHORIZED' });
      else assert.equal((await asked)?.mediaType, mediaTypes.ociManifest);
    }
    assert.ok(mirror.requests.every((one) => one.path === '/v2/hub/library/busybox/manifests/1'));
    assert.ok(
      !mirror.requests.some(
        (one) => one.authorization?.includes(Buffer.from('origin:secret').toString('base64')) === true,
      ),
    );
  });

  it('are the only sources if the rule has origin: false', async () => {
    const mirror = await serve((_request, response) => answering(response));
    const client = createRegistryClient({
      rules: new Map([['registry.k8s.io', { mirrors: [{ url: mirror.url }], origin: false }]]),
    });
    opened.push(client);
    const places = client.repositories(parseReference('registry.k8s.io/pause:3.10'));
    assert.deepEqual(
      places.map((place) => place.host),
      [mirror.host],
    );
    assert.equal((await places[0]?.manifest('3.10'))?.mediaType, mediaTypes.ociManifest);
    assert.deepEqual(
      client.repositories(parseReference('quay.io/a/b')).map((place) => place.host),
      ['quay.io'],
    );
  });

  it('with an invalid URL are refused, and the URL is not shown', () => {
    for (const url of ['', 'mirror:5000', 'ftp://m', 'http://user:hidden@m', 'http://m/?x=hidden']) {
      assert.throws(
        () => createRegistryClient({ rules: new Map([['r.io', { mirrors: [{ url }], origin: false }]]) }),
        (error: Error & { code?: string }) => {
          assert.equal(error.code, 'DISTRIBUTION_BAD_MIRROR');
          assert.ok(!error.message.includes('hidden'));
          return true;
        },
      );
    }
  });
});
