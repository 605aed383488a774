import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { protobufList, protobufStatus } from '../../test/fixtures/kubernetes/protobuf-list.ts';
import { createHttpServer } from '../connections/index.ts';
import { reasonOf } from '../errors/index.ts';
import { createApiClient } from './api-client.ts';
import { list } from './list.ts';
import type { MessageFields } from './protobuf-fields.ts';

const fields: MessageFields = { 1: ['metadata', { one: { 1: ['name', 'text'] } }] };
const service = (name: string): object => ({ metadata: { name, uid: 'unread' } });
const protobuf = { 'content-type': 'application/vnd.kubernetes.protobuf' };

/** Lists the names of all pages. @param answers one for each request */
async function listed(answers: readonly ((response: ServerResponse) => void)[]) {
  const [accepted, rest] = [[] as unknown[], [...answers]];
  const server = createHttpServer((request, response) => {
    accepted.push(request.headers.accept);
    rest.shift()?.(response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const client = createApiClient(
    () => Promise.resolve({ server: new URL(`http://127.0.0.1:${port}/`), tls: {}, id: 'one' }),
    { userAgent: 'portcullis', rights: 'list services', meanwhile: 'services stay as they are' },
  );
  const names: unknown[] = [];
  const follower = {
    begin: () => undefined,
    listed: (one: unknown) => void names.push((one as { metadata: unknown }).metadata),
    paged: () => undefined,
    complete: () => undefined,
  };
  try {
    const followed = { path: '/api/v1/services', query: {}, fields };
    const version = await list(client, followed, follower, new AbortController().signal, 2);
    return { accepted, names, version };
  } finally {
    client.close();
    server.closeAllConnections();
    server.close();
  }
}

test('a list comes as Protocol Buffers, compressed or not, or as JSON if the server has nothing else', async () => {
  const page = (names: readonly string[], next: string): Buffer =>
    protobufList('Service', '7', names.map(service), next);
  const found = await listed([
    (response) => void response.writeHead(200, protobuf).end(page(['a', 'b'], 'second')),
    (response) =>
      void response
        .writeHead(200, { ...protobuf, 'content-encoding': 'gzip' })
        .end(gzipSync(page(['c'], 'third'))),
    (response) =>
      void response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ metadata: { resourceVersion: '7' }, items: [{ metadata: { name: 'd' } }] })),
  ]);
  const asked = 'application/vnd.kubernetes.protobuf, application/json';
  assert.deepEqual(found, {
    accepted: [asked, asked, asked],
    names: [{ name: 'a' }, { name: 'b' }, { name: 'c' }, { name: 'd' }],
    version: '7',
  });
});

test('the reason of a refusal is read in either format', async () => {
  for (const [headers, body] of [
    [protobuf, protobufStatus(403, 'services is forbidden')],
    [{}, Buffer.from('{"message":"services is forbidden"}')],
  ] as const)
    await assert.rejects(
      listed([(response) => void response.writeHead(403, headers).end(body)]),
      (thrown) => reasonOf(thrown) === 'it answered 403: services is forbidden',
    );
  await assert.rejects(
    listed([(response) => void response.writeHead(403, protobuf).end('forbidden')]),
    (thrown) => reasonOf(thrown) === 'it answered 403',
  );
  await assert.rejects(
    listed([(response) => void response.writeHead(200, protobuf).end('{"items":[]}')]),
    (thrown) => reasonOf(thrown) === 'the answer is not a protobuf message',
  );
});
