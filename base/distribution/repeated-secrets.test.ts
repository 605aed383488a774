import assert from 'node:assert/strict';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { describe, it } from 'node:test';
import { inspect } from 'node:util';
import { serveHttp } from '../../test/fixtures/registry.ts';
import { createRegistryClient } from './index.ts';
import type { Credentials } from './index.ts';

const user: Credentials = { username: 'ann', password: 'pass:word' };
const basic = Buffer.from('ann:pass:word').toString('base64');
const issued = 'issued-token';

/** Answers with an error that repeats a text of the request, as some gateways do. */
function repeat(response: ServerResponse, status: number, text: string, challenge = ''): void {
  const headers = { 'content-type': 'application/json', 'www-authenticate': challenge };
  response
    .writeHead(status, headers)
    .end(JSON.stringify({ errors: [{ code: 'DENIED', message: `refused: ${text}` }] }));
}

const ownHeader = ({ headers }: IncomingMessage): string => headers.authorization ?? '';
const bearer = ({ headers }: IncomingMessage): string => `Bearer realm="http://${headers.host}/token"`;

/** The answers, by the text that the server repeats. */
const cases: readonly {
  readonly what: string;
  readonly secret: string;
  readonly credentials: Credentials;
  handle(request: IncomingMessage, response: ServerResponse): void;
}[] = [
  {
    what: 'the header with the password',
    secret: basic,
    credentials: user,
    handle: (request, response) => repeat(response, 401, ownHeader(request), 'Basic realm="x"'),
  },
  {
    what: 'the password',
    secret: 'pass:word',
    credentials: user,
    handle: (_request, response) => repeat(response, 401, 'pass:word', 'Basic realm="x"'),
  },
  {
    what: 'a registry token',
    secret: 'own-token',
    credentials: { registryToken: 'own-token' },
    handle: (request, response) => repeat(response, 403, ownHeader(request)),
  },
  {
    what: 'a token of its token service',
    secret: issued,
    credentials: user,
    handle: (request, response) =>
      request.url?.startsWith('/token') === true
        ? response.writeHead(200).end(JSON.stringify({ token: issued }))
        : repeat(response, 401, ownHeader(request), bearer(request)),
  },
  {
    what: 'the header, from its token service',
    secret: basic,
    credentials: user,
    handle: (request, response) =>
      repeat(
        response,
        401,
        ownHeader(request),
        request.url?.startsWith('/token') === true ? '' : bearer(request),
      ),
  },
  {
    what: 'an identity token, from its token service',
    secret: 'refresh-token',
    credentials: { identityToken: 'refresh-token' },
    handle: (request, response) => repeat(response, 401, 'refresh-token', bearer(request)),
  },
];

describe('a registry that repeats a secret in its error', () => {
  for (const { what, secret, credentials, handle } of cases)
    it(`is reported without it: ${what}`, async (t) => {
      const server = await serveHttp(handle);
      const client = createRegistryClient();
      t.after(async () => {
        await client.close();
        await server.close();
      });
      const name = { registry: new URL(server.url).host, repository: 'app' };
      const [repository] = client.repositories(name, credentials);
      await assert.rejects(repository?.manifest('1') ?? Promise.resolve(), (error: Error) => {
        assert.match(error.message, /DENIED, refused: .*\*{3}/);
        assert.ok(!inspect(error, { depth: 9 }).includes(secret), error.message);
        return true;
      });
    });
});
