import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { afterEach, describe, it } from 'node:test';
import { serveHttp } from '../../test/fixtures/registry.ts';
import type { TestServer } from '../../test/fixtures/registry.ts';
import { createRegistryClient, digestOf, mediaTypes, parseReference } from './index.ts';
import type { RegistryClient, RegistryRule } from './index.ts';

const manifest = Buffer.from(
  JSON.stringify({
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: { mediaType: 'application/x', digest: digestOf('{}'), size: 2 },
    layers: [],
  }),
);

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of opened.splice(0).toReversed()) await one.close();
});

const answering = (response: ServerResponse): void =>
  void response
    .writeHead(200, { 'content-type': mediaTypes.ociManifest, 'content-length': manifest.length })
    .end(manifest);
async function serve(): Promise<TestServer> {
  const server = await serveHttp((_request, response) => answering(response));
  opened.push(server);
  return server;
}
function clientOf(rules: Readonly<Record<string, RegistryRule>>): RegistryClient {
  const client = createRegistryClient({ rules: new Map(Object.entries(rules)) });
  opened.push(client);
  return client;
}
const places = (client: RegistryClient, name: string): string[] =>
  client.repositories(parseReference(name)).map(({ host, repository }) => `${host}/${repository}`);

describe('the sources of a name', () => {
  it('are its mirrors in order, with the rest of the name after the prefix, and then the registry', () => {
    const client = clientOf({
      'quay.io/team': { mirrors: [{ url: 'https://one.test/cache/' }, { url: 'https://two.test' }] },
      'docker.io': { mirrors: [{ url: 'https://hub.test/hub' }], origin: false },
      '*.lan.test': { mirrors: [{ url: 'https://three.test/lan' }] },
    });
    assert.deepEqual(places(client, 'quay.io/team/app:1'), [
      'one.test/cache/app',
      'two.test/app',
      'quay.io/team/app',
    ]);
    assert.deepEqual(places(client, 'busybox'), ['hub.test/hub/library/busybox']);
    assert.deepEqual(places(client, 'a.lan.test:5000/app'), ['three.test/lan/app', 'a.lan.test:5000/app']);
    assert.deepEqual(places(client, 'quay.io/other/app'), ['quay.io/other/app']);
    assert.deepEqual(
      ['quay.io/team/app', 'docker.io/library/busybox'].map((name) =>
        client.asksOrigin(parseReference(name)),
      ),
      [true, false],
    );
  });

  it('are refused if a mirror would have an empty path for the name', () => {
    const client = clientOf({ 'quay.io/team': { mirrors: [{ url: 'https://one.test' }] } });
    assert.throws(() => client.repositories({ registry: 'quay.io', repository: 'team' }), {
      code: 'DISTRIBUTION_BAD_MIRROR',
    });
  });

  it('are refused if the name is blocked, and nothing is requested', async () => {
    const server = await serve();
    const client = clientOf({
      [`${server.host}/team`]: { blocked: true, mirrors: [{ url: `${server.url}/cache` }] },
    });
    assert.throws(() => client.repositories(parseReference(`${server.host}/team/app`)), {
      code: 'DISTRIBUTION_BLOCKED',
      kind: 'denied',
      message: new RegExp(`${server.host}/team is blocked`),
    });
    assert.deepEqual(places(client, `${server.host}/teams/app`), [`${server.host}/teams/app`]);
    assert.deepEqual(server.requests, []);
  });

  it('do not contain mirrors at blocked names', () => {
    const client = clientOf({
      'quay.io': { mirrors: [{ url: 'https://evil.test/cache' }, { url: 'https://good.test' }] },
      'ghcr.io': { mirrors: [{ url: 'https://evil.test' }], origin: false },
      'hub.test': { mirrors: [{ url: 'https://registry-1.docker.io/library' }] },
      'evil.test': { blocked: true },
      'docker.io/library': { blocked: true },
    });
    assert.deepEqual(places(client, 'quay.io/app/a'), ['good.test/app/a', 'quay.io/app/a']);
    assert.deepEqual(places(client, 'hub.test/a'), ['hub.test/a']);
    assert.throws(() => client.repositories(parseReference('ghcr.io/app/a')), {
      code: 'DISTRIBUTION_BLOCKED',
      message: /its only mirrors/,
    });
  });

  it('that are for digests only are not asked for tags', async () => {
    const [mirror, origin] = [await serve(), await serve()];
    const client = clientOf({ [origin.host]: { mirrors: [{ url: mirror.url, tags: false }] } });
    const [first, second] = client.repositories(parseReference(`${origin.host}/app:1`));
    assert.deepEqual([first?.answersTags, second?.answersTags], [false, true]);
    for (const ask of [first?.manifest('1'), first?.resolve('1')])
      await assert.rejects(ask ?? Promise.resolve(), {
        code: 'DISTRIBUTION_NOT_FOUND',
        message: /digests only/,
      });
    assert.deepEqual(mirror.requests, []);
    assert.equal((await second?.manifest('1'))?.digest, digestOf(manifest));
    assert.equal((await first?.manifest(digestOf(manifest)))?.digest, digestOf(manifest));
  });
});
