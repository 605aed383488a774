import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import type { TestRegistry } from '../../test/fixtures/registry.ts';
import { openStoreForTests, skip } from './store-for-tests.fixture.ts';
import { openKit, ociManifest, pushImage, sha256, tarOf } from './test-kit.ts';
import type { Kit } from './test-kit.ts';

let registry: TestRegistry;
let kit: Kit;

openStoreForTests({
  opened: (opened, its) => {
    kit = opened;
    registry = its;
  },
  current: () => kit,
  empty: ['ingest', 'staging', 'blobs/sha256', 'layers', 'volumes'],
});

interface PushedFile {
  /** Absent: the layer has no annotation. */
  readonly title?: unknown;
  readonly body: string | Uint8Array;
  readonly mediaType?: string;
  readonly annotation?: string;
}

const emptyConfig = Buffer.from('{}');

/** Pushes an artifact as `oras push` does: one layer for each file, named by its title. */
async function pushArtifact(name: string, files: readonly PushedFile[], more: object = {}): Promise<string> {
  const repository = kit.repository(name);
  const config = {
    ...(await repository.pushBlob(emptyConfig)),
    mediaType: 'application/vnd.oci.empty.v1+json',
  };
  const layers = [];
  for (const {
    title,
    body,
    mediaType = 'application/octet-stream',
    annotation = 'org.opencontainers.image.title',
  } of files)
    layers.push({
      ...(await repository.pushBlob(Buffer.from(body))),
      mediaType,
      ...(title !== undefined && { annotations: { [annotation]: title } }),
    });
  const manifest = {
    schemaVersion: 2,
    mediaType: ociManifest,
    artifactType: 'application/vnd.test.model',
    config,
    layers,
    ...more,
  };
  return (await repository.pushManifest(Buffer.from(JSON.stringify(manifest)), ociManifest, { tag: '1' }))
    .digest;
}

const pull = async (name: string, signal?: AbortSignal) =>
  (
    await kit.store.pull({
      reference: kit.reference(name),
      namespace: '',
      ...(signal !== undefined && { signal }),
    })
  ).image;

async function failure(promise: Promise<unknown>, code: string): Promise<string> {
  const thrown: unknown = await promise.then(
    () => assert.fail(`it succeeded; ${code} was expected`),
    (error: unknown) => error,
  );
  assert.ok(isPortcullisError(thrown), String(thrown));
  assert.equal(thrown.code, code, thrown.message);
  return thrown.message;
}

/** The files of the image's volume, read through its mount. */
async function mounted(name: string, use: (tree: string) => void): Promise<void> {
  const image = kit.store.find(kit.reference(name));
  assert.ok(image);
  use(await kit.store.mountVolume('c1', 0, image));
  await kit.store.removeRootfs('c1');
}

test(
  'each layer with a title becomes one file of the volume, with the bytes that were pushed',
  { skip },
  async () => {
    const large = randomBytes(5 * 1024 * 1024 + 7);
    const archive = await tarOf([{ name: 'inner', body: 'not unpacked' }]);
    const long = `${'f'.repeat(120)}/${'ü'.repeat(100)}.bin`;
    const digest = await pushArtifact('open/model', [
      { title: 'weights/model.bin', body: large },
      { title: 'README.md', body: 'read me\n' },
      { title: 'empty', body: '' },
      { title: long, body: 'long' },
      { title: 'data.tar', body: archive, mediaType: 'application/vnd.oci.image.layer.v1.tar' },
      { title: 'config.json', body: '{}', annotation: 'org.cncf.model.filepath' },
      { body: 'a layer without a name gives no file' },
    ]);
    const image = await pull('open/model');
    assert.equal(
      image.id,
      digest,
      'the id is the digest of the manifest, because many artifacts have the same configuration',
    );
    assert.equal(image.config.artifactType, 'application/vnd.test.model');
    assert.deepEqual(image.repoDigests, [`${registry.host}/open/model@${digest}`]);
    await mounted('open/model', (tree) => {
      assert.deepEqual(readFileSync(`${tree}/weights/model.bin`), large);
      assert.equal(readFileSync(`${tree}/README.md`, 'utf8'), 'read me\n');
      assert.equal(readFileSync(`${tree}/empty`, 'utf8'), '');
      assert.equal(readFileSync(`${tree}/${long}`, 'utf8'), 'long');
      assert.deepEqual(readFileSync(`${tree}/data.tar`), archive, 'an archive is not unpacked');
      assert.deepEqual(readdirSync(tree).sort(), [
        'README.md',
        'config.json',
        'data.tar',
        'empty',
        'f'.repeat(120),
        'weights',
      ]);
      const { mode, uid, gid } = statSync(`${tree}/README.md`);
      assert.deepEqual([mode & 0o7777, uid, gid], [0o444, 0, 0]);
      assert.throws(() => writeFileSync(`${tree}/new`, ''), /EROFS/);
    });
  },
);

test(
  'two artifacts with the same configuration are two images, and removing one keeps the other',
  { skip },
  async () => {
    await pushArtifact('open/one', [{ title: 'a', body: 'one' }]);
    await pushArtifact('open/two', [{ title: 'a', body: 'two' }]);
    const [one, two] = [await pull('open/one'), await pull('open/two')];
    assert.notEqual(one.id, two.id);
    await kit.store.remove(one.id);
    await mounted('open/two', (tree) => assert.equal(readFileSync(`${tree}/a`, 'utf8'), 'two'));
  },
);

test('an artifact that is present is not fetched again', { skip }, async () => {
  const body = randomBytes(1000);
  await pushArtifact('open/again', [{ title: 'a', body }]);
  const first = await pull('open/again');
  const hex = sha256(body).slice('sha256:'.length);
  rmSync(`${registry.folder}/docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}`, { recursive: true });
  assert.equal((await pull('open/again')).id, first.id, 'the registry no longer has its file');
});

test('artifacts with the same files share them on the disk', { skip }, async () => {
  for (const name of ['open/first', 'open/second']) {
    await pushArtifact(name, [{ title: 'a', body: 'shared' }], { annotations: { of: name } });
    await pull(name);
  }
  assert.equal(readdirSync(`${kit.root}/layers`).length, 1);
  await kit.store.remove(kit.reference('open/first'));
  await mounted('open/second', (tree) => assert.equal(readFileSync(`${tree}/a`, 'utf8'), 'shared'));
});

test('concurrent pulls of one artifact create one layer', { skip }, async () => {
  await pushArtifact('open/many', [
    { title: 'a', body: randomBytes(100_000) },
    { title: 'b', body: randomBytes(100_000) },
  ]);
  const images = await Promise.all(Array.from({ length: 8 }, () => pull('open/many')));
  assert.equal(new Set(images.map(({ id }) => id)).size, 1);
  assert.equal(readdirSync(`${kit.root}/layers`).length, 1);
  assert.equal(readdirSync(`${kit.root}/blobs/sha256`).length, 1);
});

test('an artifact whose files are missing at a start is restored from its archive', { skip }, async () => {
  await pushArtifact('open/damaged', [{ title: 'a', body: 'whole' }]);
  await pull('open/damaged');
  const [layer = ''] = readdirSync(`${kit.root}/layers`);
  kit = await kit.reopen();
  rmSync(`${kit.root}/layers/${layer}/fs`, { recursive: true, force: true });
  await kit.store.reconcile(new Set());
  await mounted('open/damaged', (tree) => assert.equal(readFileSync(`${tree}/a`, 'utf8'), 'whole'));
});

test('an artifact that is not admitted leaves nothing on the disk', { skip }, async () => {
  await pushArtifact('signed/model', [{ title: 'a', body: 'a' }]);
  await failure(pull('signed/model'), 'IMAGES_DENIED');
  assert.equal(kit.store.find(kit.reference('signed/model')), undefined);
});

test('a signed artifact is admitted', { skip }, async () => {
  await kit.sign('signed/good', await pushArtifact('signed/good', [{ title: 'a', body: 'a' }]));
  assert.equal((await pull('signed/good')).config.artifactType, 'application/vnd.test.model');
});

test('a cancelled pull of an artifact leaves nothing', { skip }, async () => {
  await pushArtifact('open/cancelled', [{ title: 'a', body: randomBytes(6 * 1024 * 1024) }]);
  for (const ms of [0, 20, 60]) {
    const stop = new AbortController();
    const pulling = pull('open/cancelled', stop.signal).catch((thrown: unknown) => thrown);
    setTimeout(() => stop.abort(new Error('enough')), ms);
    await pulling;
    if (kit.store.find(kit.reference('open/cancelled')) !== undefined) break;
    const left = ['ingest', 'staging', 'blobs/sha256', 'layers'].flatMap((name) =>
      readdirSync(`${kit.root}/${name}`),
    );
    assert.deepEqual(left, []);
  }
});

const hostile: readonly (readonly [string, readonly unknown[], RegExp])[] = [
  ['a path that leads out of the volume', ['../x'], /relative path/],
  ['a path that leads out of the volume through a folder', ['a/../../x'], /relative path/],
  ['an absolute path', ['/etc/passwd'], /relative path/],
  ['the root', ['/'], /relative path/],
  ['the folder itself', ['.'], /relative path/],
  ['an empty part', ['a//b'], /relative path/],
  ['a folder', ['a/'], /relative path/],
  ['an empty title', [''], /empty/],
  ['a NUL', ['a\0b'], /control character/],
  ['a terminal escape', ['a\u001b[2Jb'], /control character/],
  ['a long name', ['n'.repeat(256)], /longer than 255/],
  ['a long path', [`${'n/'.repeat(512)}n`], /1024 bytes/],
  ['a deep path', [`${'n/'.repeat(40)}n`], /folders deep/],
  ['half a character', ['\ud800'], /UTF-8/],
  ['a whiteout', ['.wh.a'], /\.wh\./],
  ['an opaque folder', ['a/.wh..wh..opq'], /\.wh\./],
  ['two files of one name', ['a', 'a'], /the same file/],
  ['a file below a file', ['a', 'a/b'], /needs a folder/],
  ['a file above a file', ['a/b/c', 'a'], /needs a folder/],
  ['no title', [undefined], /contains no file/],
];
for (const [what, titles, why] of hostile) {
  test(`titles of an artifact, ${what}: refused`, { skip }, async () => {
    await pushArtifact(
      'open/hostile',
      titles.map((title) => ({ title, body: 'x' })),
    );
    assert.match(await failure(pull('open/hostile'), 'IMAGES_BAD_ARTIFACT'), why);
    assert.deepEqual(readdirSync(`${kit.root}/layers`), []);
  });
}

test('an artifact whose manifest is also an image configuration is refused', { skip }, async () => {
  await pushArtifact('open/both', [{ title: 'a', body: 'x' }], { rootfs: { type: 'layers', diff_ids: [] } });
  await failure(pull('open/both'), 'IMAGES_BAD_ARTIFACT');
});

test('the size limits apply to artifacts', { skip }, async () => {
  const small = await openKit(registry.host, { limits: { maxBlobBytes: 10, maxImageBytes: 15 } });
  try {
    const ask = (name: string) => small.store.pull({ reference: small.reference(name), namespace: '' });
    await pushArtifact('open/large', [{ title: 'a', body: 'x'.repeat(11) }]);
    await failure(ask('open/large'), 'IMAGES_TOO_LARGE');
    await pushArtifact('open/sum', [
      { title: 'a', body: 'x'.repeat(8) },
      { title: 'b', body: 'y'.repeat(8) },
    ]);
    await failure(ask('open/sum'), 'IMAGES_TOO_LARGE');
  } finally {
    await small.close();
  }
});

test('a blob whose size differs from its descriptor is refused', { skip }, async () => {
  const repository = kit.repository('open/size');
  const config = {
    ...(await repository.pushBlob(emptyConfig)),
    mediaType: 'application/vnd.oci.empty.v1+json',
  };
  const blob = await repository.pushBlob(Buffer.from('twelve bytes'));
  const titled = (title: string, size: number) => ({
    ...blob,
    size,
    mediaType: 'text/plain',
    annotations: { 'org.opencontainers.image.title': title },
  });
  const manifest = { schemaVersion: 2, mediaType: ociManifest, config, layers: [titled('a', 5)] };
  await repository.pushManifest(Buffer.from(JSON.stringify(manifest)), ociManifest, { tag: '1' });
  await failure(pull('open/size'), 'DISTRIBUTION_SIZE_MISMATCH');
});

test('an image beside an artifact keeps its own layers', { skip }, async () => {
  const tar = await tarOf([{ name: 'file', body: 'of the image' }]);
  await pushImage(kit.repository('open/image'), { layers: [{ tar }], tag: '1' });
  await pushArtifact('open/beside', [{ title: 'layer.tar', body: tar }]);
  const [image, artifact] = [await pull('open/image'), await pull('open/beside')];
  assert.equal(image.config.artifactType, undefined);
  assert.deepEqual(image.layers, [sha256(tar)]);
  assert.notDeepEqual(artifact.layers, image.layers);
});
