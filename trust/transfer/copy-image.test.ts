import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { digestOf, mediaTypes, parseManifest } from '../../base/distribution/index.ts';
import type { RegistryRepository } from '../../base/distribution/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import { copyChunked } from './chunked-image.ts';
import { copyImage, copyRemarks } from './copy-image.ts';
import { inventoryOf } from './inventory.ts';

const blobs = Array.from({ length: 8 }, (_, index) => Buffer.from(`layer ${index}`));
const descriptorOf = (bytes: Uint8Array, mediaType: string) => ({
  mediaType,
  digest: digestOf(bytes),
  size: bytes.length,
});
const config = Buffer.from('{}');
const manifest = Buffer.from(
  JSON.stringify({
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: descriptorOf(config, 'application/vnd.oci.image.config.v1+json'),
    layers: blobs.map((bytes) => descriptorOf(bytes, 'application/vnd.oci.image.layer.v1.tar')),
  }),
);

/** A repository with one image, whose blobs come as `blob` says. */
function source(blob: RegistryRepository['blob']): RegistryRepository {
  const fetched = {
    bytes: manifest,
    mediaType: mediaTypes.ociManifest,
    digest: digestOf(manifest),
    content: parseManifest(manifest, mediaTypes.ociManifest, { attempted: '', on: '' }),
  };
  const repository: Partial<RegistryRepository> = {
    host: 'from.test',
    repository: 'app',
    manifest: (wanted) =>
      wanted === '1' ? Promise.resolve(fetched) : Promise.reject(new Error('it has one manifest')),
    referrers: () => Promise.resolve({ via: 'referrers', descriptors: [], complete: true }),
    blob,
  };
  return repository as RegistryRepository;
}

/** A repository that reads each blob to its end. */
function destination(read: (bytes: Uint8Array) => void): RegistryRepository {
  const repository: Partial<RegistryRepository> = {
    host: 'to.test',
    repository: 'app',
    async pushBlobFrom(_descriptor, open) {
      for await (const chunk of await open()) read(chunk);
    },
    pushManifest: (bytes) => Promise.resolve({ digest: digestOf(bytes) }),
  };
  return repository as RegistryRepository;
}

const copy = { reference: 'to.test/app:1', wanted: '1', tag: '1' };

test('the first failure ends the other transfers, and none begins after it', async () => {
  const wrong = new Error('the registry has lost it');
  let [begun, ended] = [0, 0];
  const from = source((_descriptor, signal) => {
    begun += 1;
    if (begun === 4) return Promise.reject(wrong);
    return Promise.resolve(
      (async function* () {
        yield await Promise.resolve(Buffer.from('x'));
        if (signal?.aborted === false) await once(signal, 'abort');
        ended += 1;
        throw signal?.reason;
      })(),
    );
  });
  await assert.rejects(copyImage({ ...copy, from, to: destination(() => undefined) }), wrong);
  assert.deepEqual({ begun, ended }, { begun: 4, ended: 3 });
});

test('a caller that aborts ends all transfers', async () => {
  const giveUp = new AbortController();
  const from = source((_descriptor, signal) => {
    giveUp.abort(new Error('enough'));
    return Promise.reject(signal?.reason as Error);
  });
  const copying = copyImage({ ...copy, from, to: destination(() => undefined), signal: giveUp.signal });
  await assert.rejects(copying, /enough/u);
});

test('an index in four other indexes is refused, and one in three is copied', async () => {
  const indexOf = (bytes: Buffer, mediaType: string): Buffer =>
    Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: mediaTypes.ociIndex,
        manifests: [descriptorOf(bytes, mediaType)],
      }),
    );
  const stored = new Map<string, Buffer>([[digestOf(manifest), manifest]]);
  let [top, mediaType]: [Buffer, string] = [manifest, mediaTypes.ociManifest];
  for (let depth = 0; depth < 5; depth += 1) {
    top = indexOf(top, mediaType);
    mediaType = mediaTypes.ociIndex;
    stored.set(digestOf(top), top);
    stored.set(`nested-${depth + 1}`, top);
  }
  const base = source(() => Promise.resolve((async function* () {})()));
  const from: RegistryRepository = {
    ...base,
    manifest(wanted) {
      const bytes = stored.get(typeof wanted === 'string' ? wanted : wanted.digest);
      if (bytes === undefined) return Promise.reject(notFound());
      const type = bytes === manifest ? mediaTypes.ociManifest : mediaTypes.ociIndex;
      const content = parseManifest(bytes, type, { attempted: '', on: '' });
      return Promise.resolve({ bytes, mediaType: type, digest: digestOf(bytes), content });
    },
  };
  const run = (wanted: string): ReturnType<typeof copyImage> =>
    copyImage({ ...copy, wanted, from, to: destination(() => undefined) });
  assert.equal((await run('nested-4')).manifests, 5);
  await assert.rejects(run('nested-5'), /is in 4 other indexes; build the image with one index/u);
});

for (const [foreign, mediaType] of [
  [true, 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip'],
  [true, 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip'],
  [false, 'application/vnd.oci.image.layer.v1.tar+gzip'],
] as const)
  test(`an image whose source lacks a layer of ${mediaType} is ${foreign ? 'copied' : 'not copied'}`, async () => {
    const [absent, held] = [Buffer.from('absent'), Buffer.from('held')];
    const layers = [
      { ...descriptorOf(absent, mediaType), urls: ['https://example.com/layer'] },
      descriptorOf(held, 'application/vnd.oci.image.layer.nondistributable.v1.tar'),
    ];
    const bytes = Buffer.from(
      manifest.toString().replace(/"layers":.*$/u, `"layers":${JSON.stringify(layers)}}`),
    );
    const fetched = {
      bytes,
      mediaType: mediaTypes.ociManifest,
      digest: digestOf(bytes),
      content: parseManifest(bytes, mediaTypes.ociManifest, { attempted: '', on: '' }),
    };
    const blob: RegistryRepository['blob'] = ({ digest }) =>
      digest === digestOf(absent)
        ? Promise.reject(notFound())
        : Promise.resolve(
            (async function* () {
              yield await Promise.resolve(digest === digestOf(held) ? held : config);
            })(),
          );
    const from: RegistryRepository = {
      ...source(blob),
      manifest: (wanted) => (wanted === '1' ? Promise.resolve(fetched) : Promise.reject(notFound())),
    };
    const read: string[] = [];
    const copying = copyImage({ ...copy, from, to: destination((chunk) => read.push(chunk.toString())) });
    if (!foreign) return assert.rejects(copying, { code: 'DISTRIBUTION_NOT_FOUND' });
    assert.equal((await copying).digest, digestOf(bytes));
    assert.deepEqual(read.sort(), ['held', '{}']);
    let pushed = '';
    const pushManifest: RegistryRepository['pushManifest'] = (written) => {
      pushed = Buffer.from(written).toString();
      return Promise.resolve({ digest: digestOf(written) });
    };
    const inChunks = { ...destination((chunk) => read.push(chunk.toString())), pushManifest };
    await copyChunked({ ...copy, tag: undefined, from, to: inChunks });
    assert.deepEqual((JSON.parse(pushed) as { layers?: unknown }).layers, layers, 'they keep their digests');
    assert.deepEqual(read.sort(), ['held', 'held', '{}', '{}']);
  });

const notFound = () =>
  new PortcullisError({
    ...{ code: 'DISTRIBUTION_NOT_FOUND', kind: 'not-found', attempted: '', on: '', why: '', fix: '' },
  } as const);

/** A source whose registry lists a signature that it no longer has. */
function listing(complete: boolean): RegistryRepository {
  const from = source(() => Promise.reject(new Error('no blob is read')));
  const signature = descriptorOf(Buffer.from('removed'), mediaTypes.ociManifest);
  return {
    ...from,
    referrers: () => Promise.resolve({ via: 'referrers', descriptors: [signature], complete }),
    manifest: (wanted) => (wanted === '1' ? from.manifest(wanted) : Promise.reject(notFound())),
  };
}

/** Reads no blob: the destination has them all. */
const to: RegistryRepository = { ...destination(() => undefined), pushBlobFrom: () => Promise.resolve() };

test('a signature that is listed and was removed from the source does not prevent the copy', async () => {
  const { digest, evidence } = await copyImage({ ...copy, from: listing(true), to });
  assert.deepEqual({ digest, evidence }, { digest: digestOf(manifest), evidence: 0 });
});

test('an image to which more refers than its registry lists is not copied under its tag', async () => {
  const tags: (string | undefined)[] = [];
  const pushManifest: RegistryRepository['pushManifest'] = (bytes, _type, { tag } = {}) => {
    tags.push(tag);
    return Promise.resolve({ digest: digestOf(bytes) });
  };
  const copying = copyImage({ ...copy, from: listing(false), to: { ...to, pushManifest } });
  await assert.rejects(copying, { code: 'TRUST_TOO_MUCH_EVIDENCE' });
  assert.deepEqual(tags, [undefined]);
});

test('an image without a sha256 digest is refused before anything is pushed', async () => {
  const digest = digestOf(manifest, 'sha512');
  const named = source(() => assert.fail('a blob was fetched'));
  const from = {
    ...named,
    manifest: async (wanted: string) => ({ ...(await named.manifest(wanted)), digest }),
  } as RegistryRepository;
  const to = { ...destination(() => undefined), pushManifest: () => assert.fail('a manifest was pushed') };
  await assert.rejects(copyImage({ ...copy, from, to }), {
    code: 'DISTRIBUTION_BAD_DIGEST',
    message: /its manifest sha512:[0-9a-f]{128} has no sha256 digest/u,
  });
});

test('an artifact of another manifest type is left out and counted, and does not prevent the copy', async () => {
  const from = source(() => Promise.reject(new Error('no blob is read')));
  const old = {
    ...descriptorOf(Buffer.from('old'), 'application/vnd.oci.artifact.manifest.v1+json'),
    artifactType: 'application/vnd.cncf.notary.signature',
  };
  const listed: RegistryRepository = {
    ...from,
    referrers: () => Promise.resolve({ via: 'referrers', descriptors: [old], complete: true }),
    manifest: (wanted) => (wanted === '1' ? from.manifest(wanted) : Promise.reject(notFound())),
  };
  const copied = await copyImage({ ...copy, from: listed, to });
  assert.deepEqual([copied.evidence, copied.leftOut], [0, 1]);
  assert.equal(copyRemarks(copied), ', artifacts of other manifest types left out: 1');
  assert.deepEqual(
    (await inventoryOf(listed, '1')).pieces.map(({ what }) => what),
    ['signature (Notary Project)'],
  );
});
