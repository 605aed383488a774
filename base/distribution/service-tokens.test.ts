import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, describe, it } from 'node:test';
import { createHttpServer } from '../connections/index.ts';
import { isPortcullisError } from '../errors/index.ts';
import { sharedHttpClient } from '../http/index.ts';
import { createServiceTokens } from './service-tokens.ts';
import type { ServiceQuestion, ServiceTokens } from './service-tokens.ts';
import type { RegistryClientOptions } from './types.ts';

const open: (() => Promise<unknown>)[] = [];
after(async () => {
  for (const close of open) await close();
});

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

async function serve(address: string, handler: Handler): Promise<string> {
  const server = createHttpServer(handler).listen(0, address);
  await once(server, 'listening');
  open.push(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });
  return `http://${address}:${(server.address() as AddressInfo).port}`;
}

interface Asked {
  readonly scope: string | null;
  readonly authorization: string | undefined;
}

/** A token service that issues `for-NAME`, and records its requests. */
async function tokenService(address: string): Promise<{ readonly realm: string; readonly asked: Asked[] }> {
  const asked: Asked[] = [];
  const url = await serve(address, (request, response) => {
    asked.push({
      scope: new URL(request.url ?? '', url).searchParams.get('scope'),
      authorization: request.headers.authorization,
    });
    if (request.headers.authorization === basic('ann', 'wrong')) response.writeHead(401).end();
    else response.end(JSON.stringify({ token: 'given', expires_in: 300 }));
  });
  return { realm: `${url}/token`, asked };
}

/** A service (or registry) that challenges every client. */
const challenging = (address: string, challenge: string): Promise<string> =>
  serve(address, (_, response) => response.writeHead(401, { 'www-authenticate': challenge }).end());

const basic = (name: string, password: string): string =>
  `Basic ${Buffer.from(`${name}:${password}`).toString('base64')}`;
const bearer = (realm: string, scope = 'repository:r.example/app:pull'): string =>
  `Bearer realm="${realm}",service="trust",scope="${scope}"`;

function tokensOf(options: RegistryClientOptions = {}): ServiceTokens {
  const tokens = createServiceTokens(options);
  open.push(() => tokens.close());
  return tokens;
}

/** Returns the answer to a 401 of the service. */
async function answerTo(tokens: ServiceTokens, question: ServiceQuestion): Promise<string> {
  return tokens.answer(
    question,
    await sharedHttpClient().send({ url: question.service, totalMs: 10_000 }),
    undefined,
  );
}

const question = (service: string, registry: string, password = 'secret'): ServiceQuestion => ({
  service: new URL(service),
  repository: 'r.example/app',
  pull: { registry: new URL(registry).host, credentials: { username: 'ann', password } },
});

describe('tokens for a service beside a registry', () => {
  it('are requested with the registry’s credentials on the registry’s own host', async () => {
    const { realm, asked } = await tokenService('127.0.0.1');
    const service = await challenging('127.0.0.2', bearer(realm));
    const tokens = tokensOf();
    const asking = question(service, 'http://127.0.0.1:5000');
    assert.equal(tokens.known(asking), undefined);
    assert.equal(await answerTo(tokens, asking), 'Bearer given');
    assert.deepEqual(asked, [
      { scope: 'repository:r.example/app:pull', authorization: basic('ann', 'secret') },
    ]);
    assert.equal(tokens.known(asking), 'Bearer given');
    assert.equal(tokens.known({ ...asking, repository: 'r.example/other' }), undefined);
    assert.equal(
      tokens.known(question(service, 'http://127.0.0.1:5000', 'other')),
      undefined,
      'another caller’s token',
    );
  });

  it('are requested with the credentials of the registry only at the registry’s own token service', async () => {
    const own = await tokenService('127.0.0.3');
    const foreign = await tokenService('127.0.0.4');
    const registry = await challenging('127.0.0.1', bearer(own.realm));
    await answerTo(tokensOf(), question(await challenging('127.0.0.2', bearer(own.realm)), registry));
    assert.equal(own.asked.at(-1)?.authorization, basic('ann', 'secret'));
    await answerTo(tokensOf(), question(await challenging('127.0.0.2', bearer(foreign.realm)), registry));
    await answerTo(
      tokensOf(),
      question(await challenging('127.0.0.2', bearer(own.realm.replace('/token', '/log'))), registry),
    );
    assert.deepEqual(
      [foreign.asked, own.asked].map((all) => all.at(-1)?.authorization),
      [undefined, undefined],
    );
  });

  it('are fetched without a request to a registry whose origin must not be asked', async () => {
    const { realm, asked } = await tokenService('127.0.0.3');
    let requests = 0;
    const registry = await serve('127.0.0.1', (_, response) => {
      requests += 1;
      response.writeHead(401, { 'www-authenticate': bearer(realm) }).end();
    });
    const rules = new Map([
      [new URL(registry).host, { mirrors: [{ url: 'http://127.0.0.9:1' }], origin: false }],
    ]);
    await answerTo(tokensOf({ rules }), question(await challenging('127.0.0.2', bearer(realm)), registry));
    assert.deepEqual([requests, asked.map(({ authorization }) => authorization)], [0, [undefined]]);
  });

  it('that are requested with these credentials allow only to read that repository, whatever the service requests', async () => {
    const { realm, asked } = await tokenService('127.0.0.1');
    const greedy = await challenging('127.0.0.2', bearer(realm, 'repository:secret/app:push,pull'));
    await answerTo(tokensOf(), question(greedy, 'http://127.0.0.1:5000'));
    assert.deepEqual(asked, [
      { scope: 'repository:r.example/app:pull', authorization: basic('ann', 'secret') },
    ]);
  });

  it('the registry’s password is not sent to a service on another host that requests it by Basic authentication', async () => {
    const service = await challenging('127.0.0.2', 'Basic realm="trust"');
    await assert.rejects(answerTo(tokensOf(), question(service, 'http://127.0.0.1:5000')), {
      code: 'DISTRIBUTION_UNAUTHORIZED',
    });
    const own = {
      ...question(service, 'http://127.0.0.1:5000'),
      login: { username: 'bob', password: 'own' },
    };
    assert.equal(await answerTo(tokensOf(), own), basic('bob', 'own'));
  });

  it('a token service’s refusal is reported without the password', async () => {
    const { realm } = await tokenService('127.0.0.1');
    const service = await challenging('127.0.0.2', bearer(realm));
    await assert.rejects(
      answerTo(tokensOf(), question(service, 'http://127.0.0.1:5000', 'wrong')),
      (error) => {
        assert.ok(isPortcullisError(error));
        assert.equal(error.code, 'DISTRIBUTION_UNAUTHORIZED');
        assert.match(error.message, /answers 401/u);
        assert.doesNotMatch(JSON.stringify(error) + error.message, /wrong/u);
        return true;
      },
    );
  });

  it('a registry’s own token goes to no other service', async () => {
    const { realm, asked } = await tokenService('127.0.0.1');
    const service = await challenging('127.0.0.1', bearer(realm));
    const asking = {
      ...question(service, 'http://127.0.0.1:5000'),
      pull: { registry: '127.0.0.1:5000', credentials: { registryToken: 'r' } },
    };
    assert.equal(await answerTo(tokensOf(), asking), 'Bearer given');
    assert.deepEqual(
      asked.map(({ authorization }) => authorization),
      [undefined],
    );
  });
});
