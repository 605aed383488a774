import assert from 'node:assert/strict';
import { it } from 'node:test';
import { serveHttp } from '../../test/fixtures/registry.ts';
import { createRegistryClient, digestOf, mediaTypes, parseReference } from './index.ts';
import type { RegistryRepository } from './index.ts';

const config = { mediaType: 'application/x', digest: digestOf('x'), size: 1 };
const manifestFor = (registry: string): string =>
  JSON.stringify({
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config,
    layers: [],
    annotations: { registry },
  });

it('one mirror of several registries is asked for the image of the registry in its name', async (t) => {
  const mirror = await serveHttp(({ url }, response) => {
    const registry = new URL(url ?? '', 'http://mirror.test').searchParams.get('ns') ?? 'nothing';
    response.writeHead(200, { 'content-type': mediaTypes.ociManifest }).end(manifestFor(registry));
  });
  const rule = { mirrors: [{ url: mirror.url }] };
  const client = createRegistryClient({
    rules: new Map([
      ['docker.io', rule],
      ['*.example.com', rule],
    ]),
  });
  t.after(async () => {
    await client.close();
    await mirror.close();
  });
  const first = (name: string): RegistryRepository | undefined =>
    client.repositories(parseReference(name), undefined)[0];
  for (const [name, registry] of [
    ['busybox:1', 'docker.io'],
    ['a.example.com:5000/library/busybox:1', 'a.example.com:5000'],
  ] as const)
    assert.equal(
      Buffer.from((await first(name)?.manifest('1'))?.bytes ?? []).toString(),
      manifestFor(registry),
    );
});

it('a registry itself is not asked as a mirror, also if it is listed as one', async (t) => {
  const server = await serveHttp((_request, response) => {
    response.writeHead(200, { 'content-type': mediaTypes.ociManifest }).end(manifestFor('own'));
  });
  const client = createRegistryClient({
    rules: new Map([[server.host, { mirrors: [{ url: server.url }] }]]),
  });
  t.after(async () => {
    await client.close();
    await server.close();
  });
  for (const place of client.repositories({ registry: server.host, repository: 'app' }, undefined))
    await place.manifest('1');
  assert.deepEqual(
    server.requests.map(({ path }) => path),
    ['/v2/app/manifests/1', '/v2/app/manifests/1'],
  );
});

it('a request to a mirror of one registry does not name the registry', async (t) => {
  const server = await serveHttp((_request, response) => {
    response.writeHead(200, { 'content-type': mediaTypes.ociManifest }).end(manifestFor('own'));
  });
  const rule = { mirrors: [{ url: server.url }] };
  const client = createRegistryClient({
    rules: new Map([
      ['weak.test', rule],
      ['weak.test/team', rule],
    ]),
  });
  t.after(async () => {
    await client.close();
    await server.close();
  });
  await client.repositories(parseReference('weak.test/app:1'), undefined)[0]?.manifest('1');
  assert.deepEqual(
    server.requests.map(({ path }) => path),
    ['/v2/app/manifests/1'],
  );
});
