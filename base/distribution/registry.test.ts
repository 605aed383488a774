import assert from 'node:assert/strict';
import { appendFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { PortcullisError } from '../errors/index.ts';
import { findRegistry, registryUser, startRegistry } from '../../test/fixtures/registry.ts';
import type { TestRegistry } from '../../test/fixtures/registry.ts';
import { createRegistryClient, digestOf, fallbackTag, mediaTypes, parseReference } from './index.ts';
import type { Credentials, Descriptor, RegistryClient, RegistryRepository } from './index.ts';

const missing = findRegistry() === undefined ? 'no docker-registry on this machine' : false;
const absent = `sha256:${'0'.repeat(64)}`;

async function pushImage(
  repository: RegistryRepository,
  content: string,
  tag: string,
): Promise<{ image: Descriptor; layer: Descriptor; config: Descriptor }> {
  const config = await repository.pushBlob(Buffer.from(JSON.stringify({ content })), {
    mediaType: 'application/vnd.oci.image.config.v1+json',
  });
  const layer = await repository.pushBlob(Buffer.from(content.repeat(100_000)), {
    mediaType: 'application/vnd.oci.image.layer.v1.tar',
  });
  const bytes = Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers: [layer] }),
  );
  const { digest } = await repository.pushManifest(bytes, mediaTypes.ociManifest, { tag });
  return { image: { mediaType: mediaTypes.ociManifest, digest, size: bytes.length }, layer, config };
}

function referrer(subject: Descriptor, config: Descriptor, note: string): Uint8Array {
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      artifactType: 'application/x-note',
      config,
      layers: [],
      subject,
      annotations: { note },
    }),
  );
}

async function collect(blob: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of blob) chunks.push(chunk);
  return Buffer.concat(chunks);
}

describe('a real registry', { skip: missing }, () => {
  let registry: TestRegistry;
  let client: RegistryClient;
  const repositoryOf = (name: string, credentials?: Credentials): RegistryRepository => {
    const [repository] = client.repositories(parseReference(`${registry.host}/${name}`), credentials);
    assert.ok(repository !== undefined);
    return repository;
  };
  before(async () => {
    registry = await startRegistry();
    client = createRegistryClient();
  });
  after(async () => {
    await client.close();
    await registry.close();
  });

  it('returns the tag, manifest and blobs that were pushed', async () => {
    const repository = repositoryOf('team/app');
    const { image, layer, config } = await pushImage(repository, 'one', '1');
    assert.deepEqual(await repository.resolve('1'), image);
    assert.deepEqual(await repository.resolve(image.digest), image);
    const fetched = await repository.manifest(image);
    assert.equal(fetched.digest, image.digest);
    assert.equal(digestOf(fetched.bytes), image.digest);
    assert.ok(fetched.content.kind === 'manifest');
    assert.deepEqual(fetched.content.layers, [layer]);
    assert.equal((await collect(await repository.blob(layer))).toString(), 'one'.repeat(100_000));
    assert.equal(Buffer.from(await repository.blobBytes(config, 1000)).toString(), '{"content":"one"}');
  });

  it('reports content that does not exist', async () => {
    const repository = repositoryOf('team/none');
    const notFound = { code: 'DISTRIBUTION_NOT_FOUND', kind: 'not-found' };
    await assert.rejects(repository.resolve('1'), notFound);
    await assert.rejects(repository.manifest('1'), {
      ...notFound,
      message: new RegExp(`fetch manifest ${registry.host}/team/none:1: .*404 \\(`),
    });
    await assert.rejects(repository.manifest(absent), notFound);
    await assert.rejects(repository.blob({ digest: absent, size: 1 }), notFound);
    assert.deepEqual(await repository.referrers(absent), {
      via: 'fallback-tag',
      descriptors: [],
      complete: true,
    });
  });

  it('returns no content that contradicts its descriptor', async () => {
    const repository = repositoryOf('team/descriptors');
    const { image, layer } = await pushImage(repository, 'two', '1');
    await assert.rejects(repository.manifest({ ...image, size: image.size + 1 }), {
      code: 'DISTRIBUTION_SIZE_MISMATCH',
      kind: 'data-loss',
    });
    await assert.rejects(repository.manifest({ ...image, mediaType: mediaTypes.dockerManifest }), {
      code: 'DISTRIBUTION_BAD_MANIFEST',
    });
    await assert.rejects(repository.blob({ ...layer, size: 5 }), {
      code: 'DISTRIBUTION_SIZE_MISMATCH',
      message: new RegExp(layer.digest),
    });
    await assert.rejects(repository.blobBytes(layer, 1000), { code: 'DISTRIBUTION_TOO_LARGE' });
    await assert.rejects(repository.manifest('../../blobs/x'), { code: 'DISTRIBUTION_BAD_REFERENCE' });
    await assert.rejects(repository.blob({ digest: '../x', size: 1 }), { code: 'DISTRIBUTION_BAD_DIGEST' });
  });

  it('is reported if it has a damaged blob or manifest on its disk', async () => {
    const repository = repositoryOf('team/damaged');
    const { image, layer, config } = await pushImage(repository, 'three', '1');
    const fileOf = (digest: string): string =>
      join(registry.folder, 'docker/registry/v2/blobs/sha256', digest.slice(7, 9), digest.slice(7), 'data');
    writeFileSync(fileOf(config.digest), '{"content":"THREE"}');
    await assert.rejects(repository.blobBytes(config, 1000), {
      code: 'DISTRIBUTION_DIGEST_MISMATCH',
      kind: 'data-loss',
      message: new RegExp(config.digest),
    });
    truncateSync(fileOf(layer.digest), layer.size);
    writeFileSync(fileOf(layer.digest), Buffer.alloc(layer.size, 'x'));
    await assert.rejects(repository.blob(layer).then(collect), { code: 'DISTRIBUTION_DIGEST_MISMATCH' });
    appendFileSync(fileOf(image.digest), ' ');
    // This registry checks a manifest's size itself, and answers 500. For a registry that does not, the
    // digest reveals it.
    await assert.rejects(
      repository.manifest(image.digest),
      /DISTRIBUTION_(UNREACHABLE|DIGEST_MISMATCH|SIZE_MISMATCH)/,
    );
  });

  it('without the referrers API has referrers under the fallback tag, also with concurrent writers', async () => {
    const repository = repositoryOf('team/referrers');
    const { image, config } = await pushImage(repository, 'four', '1');
    const notes = ['a', 'b', 'c'].map((note) => referrer(image, config, note));
    const pushed = await Promise.all(
      notes.map((bytes) => repository.pushReferrer(bytes, mediaTypes.ociManifest)),
    );
    assert.deepEqual(
      pushed.map((one) => one.via),
      ['fallback-tag', 'fallback-tag', 'fallback-tag'],
    );
    const again = await repository.pushReferrer(notes[0] ?? new Uint8Array(), mediaTypes.ociManifest);
    const listed = await repository.referrers(image.digest);
    assert.equal(listed.via, 'fallback-tag');
    assert.deepEqual(
      new Set(listed.descriptors.map((one) => one.digest)),
      new Set(pushed.map((one) => one.digest)),
    );
    assert.equal(listed.descriptors.length, 3, `${again.digest} is listed once`);
    assert.partialDeepStrictEqual(
      listed.descriptors.find((one) => one.digest === pushed[1]?.digest),
      {
        artifactType: 'application/x-note',
        annotations: { note: 'b' },
      },
    );
    assert.equal((await repository.manifest(fallbackTag(image.digest))).content.kind, 'index');
    assert.deepEqual(
      (await repository.referrers(image.digest, { artifactType: 'other/type' })).descriptors,
      [],
    );
    const few = await repository.referrers(image.digest, { limit: 2 });
    assert.deepEqual([few.descriptors.length, few.complete], [2, false]);
  });

  it('refuses a referrer without a subject before anything is pushed', async () => {
    const repository = repositoryOf('team/subject');
    const { config } = await pushImage(repository, 'five', '1');
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, config, layers: [] }));
    await assert.rejects(repository.pushReferrer(bytes, mediaTypes.ociManifest), {
      code: 'DISTRIBUTION_BAD_MANIFEST',
      message: /no subject/,
    });
    await assert.rejects(repository.manifest(digestOf(bytes)), { code: 'DISTRIBUTION_NOT_FOUND' });
  });

  it('is quoted in the error if it refuses a push', async () => {
    const config = { mediaType: 'application/x', digest: absent, size: 1 };
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, config, layers: [] }));
    await assert.rejects(repositoryOf('team/refused').pushManifest(bytes, mediaTypes.ociManifest), {
      code: 'DISTRIBUTION_REFUSED',
      message: /400 \(MANIFEST_BLOB_UNKNOWN/,
    });
  });

  it('a cancelled pull ends at once, at its beginning and in the middle', async () => {
    const repository = repositoryOf('team/cancel');
    const { layer } = await pushImage(repository, 'six-'.repeat(50), '1');
    const cancelled = { code: 'DISTRIBUTION_CANCELLED', kind: 'cancelled' };
    await assert.rejects(repository.manifest('1', AbortSignal.abort()), cancelled);
    const controller = new AbortController();
    const blob = await repository.blob(layer, controller.signal);
    await assert.rejects(async () => {
      for await (const _chunk of blob) controller.abort();
    }, cancelled);
    // A consumer that stops early leaves no open requests.
    for await (const _chunk of await repository.blob(layer)) break;
    assert.equal((await collect(await repository.blob(layer))).length, layer.size);
  });
});

describe('a registry that requires a password', { skip: missing }, () => {
  let registry: TestRegistry;
  before(async () => {
    registry = await startRegistry({ auth: true });
  });
  after(() => registry.close());

  it('gets the password for reading and writing, refuses access without the correct password, and no error shows it', async () => {
    const client = createRegistryClient();
    const reference = parseReference(`${registry.host}/private/app`);
    const [mine] = client.repositories(reference, registryUser);
    const [nobodys] = client.repositories(reference);
    const [wrong] = client.repositories(reference, { username: 'portcullis', password: 'not-the-password' });
    assert.ok(mine !== undefined && nobodys !== undefined && wrong !== undefined);
    const { image, layer } = await pushImage(mine, 'seven', '1');
    assert.deepEqual(await mine.resolve('1'), image);
    assert.equal((await collect(await mine.blob(layer))).length, layer.size);
    const denied = { code: 'DISTRIBUTION_UNAUTHORIZED', kind: 'denied' };
    await assert.rejects(nobodys.resolve('1'), {
      ...denied,
      message: /requires a user name and a password; for a command, use podman login .* pull secret/,
    });
    await assert.rejects(wrong.resolve('1'), (error: PortcullisError) => {
      assert.partialDeepStrictEqual({ code: error.code, kind: error.kind }, denied);
      assert.ok(!JSON.stringify([error, error.stack]).includes('not-the-password'));
      return true;
    });
    await client.close();
  });
});
