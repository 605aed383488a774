import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  digestOfBytes,
  fixtureContent,
  serveFixtures,
} from '../../trust/evidence/fixtures/fixture-registry.ts';
import type {
  FixtureContent,
  FixtureRegistry,
  FixtureRepository,
} from '../../trust/evidence/fixtures/fixture-registry.ts';
import { podOf, registryAccess, reviewOf, signedPolicy, startTestWebhook } from '../webhook.fixture.ts';

type Before = NonNullable<Parameters<typeof serveFixtures>[1]>['before'];

async function serve(
  t: TestContext,
  before: Before,
  content: FixtureContent = fixtureContent(),
): Promise<FixtureRegistry> {
  const registry = await serveFixtures(content, {
    referrers: true,
    ...(before !== undefined && { before }),
  });
  t.after(() => registry.close());
  return registry;
}

const signed = (host: string): string => reviewOf(podOf(`${host}/bundle/ecdsa-p256:1`));

test('a registry that fails for the images of one namespace is asked for another namespace', async (t) => {
  const { host } = await serve(t, (path, response) => {
    if (!path.startsWith('/v2/other/')) return false;
    response.writeHead(503).end();
    return true;
  });
  const { ask } = await startTestWebhook(t, signedPolicy);
  const bad = podOf(...Array.from({ length: 20 }, (_, index) => `${host}/other/n${index}:1`));
  const { response: refused } = await ask(
    '/validate?timeout=30s',
    reviewOf(bad, { namespace: 'other', userInfo: { username: 'other' } }),
  );
  assert.match(refused.status?.message ?? '', /20 of 20 images may not run/);
  const { response } = await ask('/validate?timeout=30s', signed(host));
  assert.equal(response.allowed, true, String(response.status?.message));
});

test('a registry that is silent about the images of one namespace is asked for another namespace', async (t) => {
  const registry = await serve(t, (path) => path.startsWith('/v2/other/'));
  const { host, requests } = registry;
  const { ask } = await startTestWebhook(t, signedPolicy);
  const bad = podOf(...Array.from({ length: 20 }, (_, index) => `${host}/other/n${index}:1`));
  let isRefused = false;
  const refused = ask('/validate?timeout=30s', reviewOf(bad, { namespace: 'other' })).finally(
    () => (isRefused = true),
  );
  while (requests.filter((one) => one.includes('/v2/other/')).length < 12) await sleep(10);
  const { response } = await ask('/validate?timeout=30s', signed(host));
  assert.equal(response.allowed, true, String(response.status?.message));
  assert.equal(isRefused, false, 'it does not wait for the other namespace');
  await registry.close();
  assert.equal((await refused).response.allowed, false);
});

/** Returns a repository with an index of unsigned images for many platforms, tagged `1`. */
function manyPlatforms(count: number): FixtureRepository {
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const images = Array.from({ length: count }, (_, at) => {
    const digest = digestOfBytes(Buffer.from(String(at)));
    const config = { mediaType: 'application/vnd.oci.image.config.v1+json', digest, size: 1 };
    return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, config, layers: [] }));
  });
  const index = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: images.map((bytes, at) => ({
        ...{ mediaType, digest: digestOfBytes(bytes), size: bytes.length },
        platform: { os: 'linux', architecture: 'arm', variant: `v${at}` },
      })),
    }),
  );
  return {
    tags: new Map([['1', digestOfBytes(index)]]),
    manifests: new Map([index, ...images].map((bytes) => [digestOfBytes(bytes), bytes])),
    blobs: new Map(),
  };
}

test('a namespace whose images have many platforms does not delay another namespace', async (t) => {
  const content = fixtureContent().set('app', manyPlatforms(8));
  let waiting = 0;
  // Each of these registries answers about images, and is silent about signatures.
  const silent = await Promise.all(
    Array.from({ length: 16 }, () =>
      serve(
        t,
        (path) => {
          const isOfSignatures = /\/(?:referrers\/|manifests\/sha256-)/u.test(path);
          if (isOfSignatures) waiting += 1;
          return isOfSignatures;
        },
        content,
      ),
    ),
  );
  const { host } = await serve(t, undefined);
  const { ask } = await startTestWebhook(t, signedPolicy, { platforms: 'all' });
  let isRefused = false;
  const refused = ask(
    '/validate?timeout=30s',
    reviewOf(podOf(...silent.map((one) => `${one.host}/app:1`)), { namespace: 'other' }),
  ).finally(() => (isRefused = true));
  while (waiting < 16) await sleep(10);
  const { response } = await ask('/validate?timeout=30s', signed(host));
  assert.equal(response.allowed, true, String(response.status?.message));
  assert.equal(isRefused, false, 'it does not wait for the other namespace');
  await Promise.all(silent.map((one) => one.close()));
  assert.equal((await refused).response.allowed, false);
});

/** Returns a signed image with many further signatures, each with a blob of its own. */
function manySignatures(count: number): FixtureRepository {
  const { tags, manifests, blobs } = fixtureContent().get('bundle/ecdsa-p256') as FixtureRepository;
  const signature = [...manifests.values()].find((bytes) => bytes.includes('"subject"'));
  assert.ok(signature);
  for (let copy = 0; copy < count; copy += 1) {
    const { layers, ...fields } = JSON.parse(signature.toString()) as { layers: readonly object[] };
    const digest = digestOfBytes(Buffer.from(String(copy)));
    const other = { ...fields, layers: layers.map((layer) => ({ ...layer, digest })) };
    const bytes = Buffer.from(JSON.stringify(other));
    manifests.set(digestOfBytes(bytes), bytes);
  }
  return { tags, manifests, blobs };
}

const upstreams = ['a.example', 'b.example'];

for (const [place, isMirror] of [
  ['a registry', false],
  ['a mirror of several registries', true],
] as const)
  test(`${place} that is silent about signatures of one namespace has connections for another`, async (t) => {
    const content = fixtureContent();
    const names = Array.from({ length: isMirror ? 16 : 12 }, (_, index) => `other/n${index}`);
    for (const name of names) content.set(name, manySignatures(8));
    let waiting = 0;
    let ended = 0;
    const registry = await serve(
      t,
      (path, response) => {
        const isOfBlob = /^\/v2\/other\/.*\/blobs\//u.test(path);
        if (!isOfBlob) return false;
        waiting += 1;
        response.once('close', () => (ended += 1));
        return true;
      },
      content,
    );
    const { host } = registry;
    const mirror = { mirrors: [{ url: `http://${host}` }] };
    const rules = new Map(upstreams.map((upstream) => [upstream, mirror]));
    const hostOf = (index: number): string => (isMirror ? (upstreams[index % 2] ?? '') : host);
    const { ask } = await startTestWebhook(t, signedPolicy, { registry: registryAccess(t, { rules }) });
    let isRefused = false;
    const images = names.map((name, index) => `${hostOf(index)}/${name}:1`);
    const refused = ask('/validate?timeout=30s', reviewOf(podOf(...images), { namespace: 'other' })).finally(
      () => (isRefused = true),
    );
    // More than the usual number of connections to one host; at a mirror, all requests of one namespace.
    while (waiting < (isMirror ? 128 : 64)) await sleep(10);
    const { response } = await ask('/validate?timeout=30s', signed(hostOf(0)));
    assert.equal(response.allowed, true, String(response.status?.message));
    assert.equal(isRefused, false, 'it does not wait for the other namespace');
    assert.equal(ended, 0, 'nor for the end of a request of the other namespace');
    await registry.close();
    assert.equal((await refused).response.allowed, false);
  });
