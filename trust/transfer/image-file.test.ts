import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pack } from 'tar-stream';
import type { Header } from 'tar-stream';
import { digestOf } from '../../base/distribution/index.ts';
import { openLayout } from './layout.ts';
import type { LayoutRepository } from './layout.ts';
import { useImageFile } from './image-file.ts';
import { processorMs } from '../../test/fixtures/cost.ts';

const home = mkdtempSync(join(tmpdir(), 'portcullis-image-file-test-'));
/** Temporary folders of the code under test. */
const temporary = join(home, 'tmp');
const earlier = process.env['TMPDIR'];
before(() => {
  mkdirSync(temporary);
  process.env['TMPDIR'] = temporary;
});
after(() => {
  if (earlier === undefined) delete process.env['TMPDIR'];
  else process.env['TMPDIR'] = earlier;
  assert.deepEqual(readdirSync(temporary), [], 'nothing is left behind');
  rmSync(home, { recursive: true });
});

const manifestType = 'application/vnd.oci.image.manifest.v1+json';
const damaged = { code: 'TRUST_ARCHIVE_DAMAGED' };
const hexOf = (bytes: string | Buffer): string => createHash('sha256').update(bytes).digest('hex');

type Member = Partial<Header> & { readonly name: string; readonly body?: string | Buffer };

async function archive(members: readonly Member[]): Promise<string> {
  const tar = pack();
  const chunks: Buffer[] = [];
  const ended = (async () => {
    for await (const chunk of tar as AsyncIterable<Buffer>) chunks.push(chunk);
  })();
  for (const { body = '', ...header } of members) tar.entry(header, Buffer.from(body));
  tar.finalize();
  await ended;
  const file = join(mkdtempSync(join(home, 'archive-')), 'image.tar');
  writeFileSync(file, Buffer.concat(chunks));
  return file;
}

async function push(layout: LayoutRepository, label: string, tag?: string): Promise<string> {
  const { digest, size } = await layout.pushBlob(Buffer.from('{}'));
  const config = { mediaType: 'application/vnd.oci.empty.v1+json', digest, size };
  const manifest = { schemaVersion: 2, mediaType: manifestType, config, layers: [], annotations: { label } };
  return (
    await layout.pushManifest(
      Buffer.from(JSON.stringify(manifest)),
      manifestType,
      tag === undefined ? {} : { tag },
    )
  ).digest;
}

async function layoutWith(
  tags: readonly string[],
): Promise<{ readonly folder: string; readonly digests: readonly string[] }> {
  const folder = mkdtempSync(join(home, 'layout-'));
  const layout = await openLayout(folder);
  const digests: string[] = [];
  for (const tag of tags) digests.push(await push(layout, tag, tag));
  await layout.finish();
  return { folder, digests };
}

const digestIn = (file: string, image?: string): Promise<string> =>
  useImageFile({ file, image }, ({ digest }) => Promise.resolve(digest));

/** The form that docker wrote before version 25, with a shared layer as a link. */
function dockerMembers(layer = 'the bytes of a layer'): readonly Member[] {
  const config = JSON.stringify({
    os: 'linux',
    architecture: 'amd64',
    rootfs: { type: 'layers', diff_ids: [0, 1].map(() => `sha256:${hexOf(layer)}`) },
  });
  const name = `${hexOf(config)}.json`;
  return [
    { name: 'aa/', type: 'directory' },
    { name: 'aa/layer.tar', body: layer },
    { name: 'aa/VERSION', body: '1.0' },
    { name: 'bb/layer.tar', type: 'symlink', linkname: '../aa/layer.tar' },
    { name, body: config },
    {
      name: 'manifest.json',
      body: JSON.stringify([
        { Config: name, RepoTags: ['shop/web:1'], Layers: ['aa/layer.tar', 'bb/layer.tar'] },
      ]),
    },
  ];
}

test('a folder and a tar archive of a layout give the same image', async () => {
  const { folder, digests } = await layoutWith(['1']);
  const file = `${folder}.tar`;
  execFileSync('tar', ['-cf', file, '-C', folder, '.']);
  assert.deepEqual([await digestIn(folder), await digestIn(file)], [digests[0], digests[0]]);
});

test('an image is chosen by its tag or digest if there are several', async () => {
  const { folder, digests } = await layoutWith(['1', '2']);
  const [first = '', second = ''] = digests;
  assert.deepEqual([await digestIn(folder, '2'), await digestIn(folder, first)], [second, first]);
  await assert.rejects(digestIn(folder), {
    code: 'TRUST_ARCHIVE_AMBIGUOUS',
    message: /it contains 2 images: 1, 2/u,
  });
  await assert.rejects(digestIn(folder, '3'), {
    code: 'TRUST_ARCHIVE_AMBIGUOUS',
    message: /no image in it has the name or digest "3"/u,
  });
});

test('a name in an archive cannot forge a line of a message', async () => {
  const { folder } = await layoutWith(['1', '\u001b]0;owned\u0007\nforged']);
  await assert.rejects(digestIn(folder), {
    message: /it contains 2 images: 1, "\\u001b\]0;owned\\u0007\\nforged"; name one/u,
  });
});

test('signatures and the manifests of an index are not listed as images', async () => {
  const folder = mkdtempSync(join(home, 'layout-'));
  const layout = await openLayout(folder);
  const child = await push(layout, 'child');
  const { size } = await layout.manifest(child).then(({ bytes }) => ({ size: bytes.length }));
  const index = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: [{ mediaType: manifestType, digest: child, size }],
  };
  const top = await layout.pushManifest(Buffer.from(JSON.stringify(index)), index.mediaType, { tag: '1' });
  await push(layout, 'signature', `${top.digest.replace(':', '-')}.sig`);
  await layout.finish({ children: false });
  assert.equal(await digestIn(folder), top.digest);
  // A manifest that an index lists is found by its descriptor.
  const again = await openLayout(folder);
  assert.equal((await again.manifest({ mediaType: manifestType, digest: child, size })).digest, child);
});

test('one platform of an index that lacks the others is chosen by its digest', async () => {
  const folder = mkdtempSync(join(home, 'layout-'));
  const layout = await openLayout(folder);
  const child = await push(layout, 'child');
  const absent = digestOf('absent');
  const manifests = [child, absent].map((digest) => ({ mediaType: manifestType, digest, size: 1 }));
  const mediaType = 'application/vnd.oci.image.index.v1+json';
  const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, manifests }));
  const top = await layout.pushManifest(index, mediaType, { tag: '1' });
  await layout.finish({ children: false });
  assert.equal(await digestIn(folder), top.digest);
  const used = await useImageFile({ file: folder, image: child }, async ({ repository, digest }) => [
    digest,
    (await repository.manifest(digest)).mediaType,
  ]);
  assert.deepEqual(used, [child, manifestType]);
  await assert.rejects(digestIn(folder, absent), { code: 'TRUST_ARCHIVE_AMBIGUOUS' });
});

test('a docker archive gets the same manifest each time, with the digests of its files', async () => {
  const file = await archive(dockerMembers());
  const [first, second] = [await digestIn(file), await digestIn(file, 'docker.io/shop/web:1')];
  assert.equal(first, second);
  await useImageFile({ file }, async ({ repository, digest }) => {
    const { content } = await repository.manifest(digest);
    assert.ok(content.kind === 'manifest');
    const layer = {
      mediaType: 'application/vnd.oci.image.layer.v1.tar',
      digest: `sha256:${hexOf('the bytes of a layer')}`,
      size: 20,
    };
    assert.deepEqual(content.layers, [layer, layer]);
    assert.equal((await repository.blobBytes(layer, 100)).toString(), 'the bytes of a layer');
  });
});

test('a layer of a docker archive that its image does not list is refused', async () => {
  const members = dockerMembers().map((member) =>
    member.name === 'aa/layer.tar' ? { ...member, body: 'another layer' } : member,
  );
  await assert.rejects(digestIn(await archive(members)), {
    ...damaged,
    message: /is not the one that its image lists/u,
  });
});

test('an archive of docker 25 is read by its layout, so that its digests stay', async () => {
  const { folder, digests } = await layoutWith(['1']);
  writeFileSync(join(folder, 'manifest.json'), JSON.stringify([{ Config: 'x', RepoTags: [], Layers: [] }]));
  const file = `${folder}.tar`;
  execFileSync('tar', ['-cf', file, '-C', folder, '.']);
  assert.equal(await digestIn(file), digests[0]);
});

for (const [what, members, why] of [
  ['a path outside', [{ name: '../evil', body: 'x' }], /outside the archive/u],
  ['an absolute path', [{ name: '/evil', body: 'x' }], /outside the archive/u],
  ['a device', [{ name: 'disk', type: 'block-device' }], /neither a file nor a link/u],
  ['a FIFO', [{ name: 'index.json', type: 'fifo' }], /neither a file nor a link/u],
  [
    'one name twice',
    [
      { name: 'a', body: 'x' },
      { name: './a', body: 'y' },
    ],
    /twice/u,
  ],
  [
    'a link to a file of the host',
    [{ name: 'manifest.json', type: 'symlink', linkname: '/etc/passwd' }],
    /neither index\.json nor manifest\.json/u,
  ],
  [
    'links in a circle',
    [
      { name: 'index.json', type: 'symlink', linkname: 'b' },
      { name: 'b', type: 'symlink', linkname: 'index.json' },
    ],
    /neither index\.json/u,
  ],
  ['nothing', [], /neither index\.json nor manifest\.json/u],
  ['a manifest.json that is not JSON', [{ name: 'manifest.json', body: '{' }], /cannot be read/u],
  [
    'a manifest.json of another form',
    [{ name: 'manifest.json', body: '[{"Config":1}]' }],
    /does not have the form/u,
  ],
  [
    'a layer that is missing',
    dockerMembers().filter(({ name }) => name !== 'aa/layer.tar'),
    /does not contain "aa\/layer\.tar"/u,
  ],
] satisfies [string, readonly Member[], RegExp][])
  test(`an archive with ${what} is refused`, async () => {
    await assert.rejects(digestIn(await archive(members)), { ...damaged, message: why });
    assert.ok(!existsSync(join(temporary, 'evil')) && !existsSync('/evil'));
  });

test('a compressed or a truncated archive is refused with a remedy', async () => {
  const file = await archive(dockerMembers());
  execFileSync('gzip', ['-k', file]);
  await assert.rejects(digestIn(`${file}.gz`), {
    ...damaged,
    message: /compressed with gzip; decompress it first \[/u,
  });
  writeFileSync(file, readFileSync(file).subarray(0, 700));
  await assert.rejects(digestIn(file), damaged);
});

test('a folder that is not a layout is refused with the advice to name another one', async () => {
  await assert.rejects(digestIn(mkdtempSync(join(home, 'no-layout-'))), {
    ...damaged,
    message: /the folder has no index\.json; name an OCI layout/u,
  });
});

test('an archive that ends within a large file is refused', async () => {
  const file = await archive(dockerMembers('x'.repeat(4_000_000)));
  writeFileSync(file, readFileSync(file).subarray(0, 3_000_000));
  await assert.rejects(digestIn(file), { ...damaged, message: /not a complete tar archive/u });
});

test('a file that an archive repeats is one file, unless its content differs', async () => {
  const { folder, digests } = await layoutWith(['1']);
  const file = `${folder}.tar`;
  execFileSync('tar', ['-cf', file, '-C', folder, '.']);
  execFileSync('tar', ['-rf', file, '-C', folder, './index.json']);
  assert.equal(await digestIn(file), digests[0]);
  writeFileSync(join(folder, 'index.json'), '{}');
  execFileSync('tar', ['-rf', file, '-C', folder, './index.json']);
  await assert.rejects(digestIn(file), {
    ...damaged,
    message: /"index\.json" twice, with different content/u,
  });
});

test('an image is chosen by the whole name that containerd and docker write', async () => {
  const { folder, digests } = await layoutWith(['a', 'b']);
  const path = join(folder, 'index.json');
  const index = JSON.parse(readFileSync(path, 'utf8')) as { manifests: { annotations: object }[] };
  for (const [at, entry] of index.manifests.entries())
    entry.annotations = {
      'org.opencontainers.image.ref.name': '1',
      'io.containerd.image.name': `docker.io/library/${at === 0 ? 'web' : 'db'}:1`,
    };
  writeFileSync(path, JSON.stringify(index));
  assert.equal(await digestIn(folder, 'docker.io/library/web:1'), digests[0]);
  assert.equal(await digestIn(folder, 'db:1'), digests[1]);
  await assert.rejects(digestIn(folder, '1'), {
    code: 'TRUST_ARCHIVE_AMBIGUOUS',
    message:
      /2 images in it have the name or digest "1".*2 images: docker\.io\/library\/web:1, docker\.io\/library\/db:1/u,
  });
});

test('an index for other programs lists a tagged image once', async () => {
  const { folder } = await layoutWith([]);
  const layout = await openLayout(folder);
  await push(layout, 'one');
  const digest = await push(layout, 'one', '1');
  await layout.finish({ children: false });
  const { manifests } = JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8')) as {
    manifests: { digest: string }[];
  };
  assert.deepEqual(
    manifests.map((entry) => entry.digest),
    [digest],
  );
});

test(
  'a path that is neither a folder nor a regular file is refused without waiting',
  { timeout: 20_000 },
  async () => {
    const fifo = join(home, 'fifo');
    execFileSync('mkfifo', [fifo]);
    for (const path of [fifo, '/dev/zero', join(home, 'none')])
      await assert.rejects(digestIn(path), damaged, path);
    await assert.rejects(digestIn(home), { ...damaged, message: /no index\.json/u });
  },
);

test('a link or a FIFO in place of a blob of a layout is refused', { timeout: 20_000 }, async () => {
  const secret = join(home, 'secret');
  writeFileSync(secret, 'secret');
  const digest = digestOf(Buffer.from('secret'));
  const descriptor = { digest, size: 6 };
  const { folder } = await layoutWith(['1']);
  const layout = await openLayout(folder);
  const place = join(folder, 'blobs/sha256', digest.slice('sha256:'.length));
  for (const make of [() => symlinkSync(secret, place), () => execFileSync('mkfifo', [place])]) {
    make();
    await assert.rejects(layout.blobBytes(descriptor, 100), damaged);
    await assert.rejects(layout.blob(descriptor), damaged);
    await assert.rejects(openLayout(await indexOf(place, digest)), damaged);
    rmSync(place);
  }
});

async function indexOf(place: string, digest: string): Promise<string> {
  const folder = join(place, '../../..');
  const index = readFileSync(join(folder, 'index.json'), 'utf8');
  const changed = mkdtempSync(join(home, 'layout-'));
  execFileSync('cp', ['-a', join(folder, 'blobs'), changed]);
  const entry = { mediaType: manifestType, digest, size: 6 };
  writeFileSync(
    join(changed, 'index.json'),
    JSON.stringify({ ...(JSON.parse(index) as object), manifests: [entry] }),
  );
  return Promise.resolve(changed);
}

test('an index that lists one large manifest a thousand times is read once', async () => {
  const { folder, digests } = await layoutWith(['1']);
  const [digest = ''] = digests;
  const file = join(folder, 'blobs/sha256', digest.slice('sha256:'.length));
  const large = Buffer.from(
    JSON.stringify({
      ...(JSON.parse(readFileSync(file, 'utf8')) as object),
      annotations: { pad: 'x'.repeat(200_000) },
    }),
  );
  const wide = join(folder, 'blobs/sha256', hexOf(large));
  writeFileSync(wide, large);
  const entry = { mediaType: manifestType, digest: digestOf(large), size: large.length };
  writeFileSync(
    join(folder, 'index.json'),
    JSON.stringify({ schemaVersion: 2, manifests: Array.from({ length: 1000 }, () => entry) }),
  );
  const begun = processorMs();
  assert.equal((await openLayout(folder)).images().length, 1);
  assert.ok(processorMs() - begun < 5_000);
  writeFileSync(
    join(folder, 'index.json'),
    JSON.stringify({ schemaVersion: 2, manifests: Array.from({ length: 1001 }, () => entry) }),
  );
  await assert.rejects(openLayout(folder), damaged);
});

test('a blob that arrives with other bytes is refused, and nothing is left of it', async () => {
  const { folder } = await layoutWith(['1']);
  const layout = await openLayout(folder);
  const before = readdirSync(join(folder, 'blobs/sha256'));
  const stream = (text: string): AsyncIterable<Uint8Array> =>
    (async function* () {
      yield await Promise.resolve(Buffer.from(text));
    })();
  const wanted = { digest: digestOf(Buffer.from('right')), size: 5 };
  for (const text of ['wrong', 'right and more', 'righ'])
    await assert.rejects(
      layout.pushBlobFrom(wanted, () => stream(text)),
      damaged,
    );
  assert.deepEqual(readdirSync(join(folder, 'blobs/sha256')), before);
  await layout.pushBlobFrom(wanted, () => stream('right'));
  assert.equal((await layout.blobBytes(wanted, 5)).toString(), 'right');
});
