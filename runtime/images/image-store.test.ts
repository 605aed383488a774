import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { test } from 'node:test';
import { isMountpoint } from '../../base/kernel/index.ts';
import { isPortcullisError } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import type { TestRegistry } from '../../test/fixtures/registry.ts';
import { openStoreForTests, skip } from './store-for-tests.fixture.ts';
import { contentOf, ociIndex, ociManifest, pushImage, tarOf } from './test-kit.ts';
import type { Entry, Kit } from './test-kit.ts';

let registry: TestRegistry;
let kit: Kit;

openStoreForTests({
  opened: (opened, its) => {
    kit = opened;
    registry = its;
  },
  current: () => kit,
  empty: ['ingest', 'staging', 'blobs/sha256', 'layers', 'rootfs'],
});

function leftovers(): string[] {
  return ['ingest', 'staging', 'blobs/sha256', 'layers', 'rootfs'].flatMap((name) =>
    readdirSync(`${kit.root}/${name}`).map((file) => `${name}/${file}`),
  );
}

async function failure(promise: Promise<unknown>, code: string): Promise<PortcullisError> {
  const thrown: unknown = await promise.then(
    () => assert.fail(`it succeeded; ${code} was expected`),
    (error: unknown) => error,
  );
  assert.ok(isPortcullisError(thrown), String(thrown));
  assert.equal(thrown.code, code, thrown.message);
  return thrown;
}

const base: readonly Entry[] = [
  { name: 'bin', type: 'directory' },
  { name: 'bin/sh', body: 'shell', mode: 0o755 },
  { name: 'dev', type: 'directory' },
  { name: 'etc', type: 'directory' },
];
const pull = (
  name: string,
  options: { readonly namespace?: string; readonly signal?: AbortSignal; readonly tag?: string } = {},
) =>
  kit.store.pull({
    reference: kit.reference(name, options.tag),
    namespace: options.namespace ?? '',
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });

async function signed(
  name: string,
  entries: readonly Entry[] = [...base, { name: 'id', body: name }],
  tag = '1',
) {
  const image = await pushImage(kit.repository(name), {
    layers: [{ tar: await tarOf(entries) }],
    tag,
    label: name,
  });
  await kit.sign(name, image.digest);
  return image;
}

/** Returns the path at which docker-registry keeps a blob. */
function registryFile(digest: string): string {
  const hex = digest.slice('sha256:'.length);
  return `${registry.folder}/docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}/data`;
}
function flipByte(file: string): void {
  const bytes = readFileSync(file);
  const at = bytes.length >> 1;
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  writeFileSync(file, bytes);
}
const logged = (outcome: string) =>
  kit.database.all<{ id: string; reference: string }>(
    'SELECT id, reference FROM verdict_log WHERE outcome = ? ORDER BY seq',
    [outcome],
  );

test(
  'a signed image is pulled, found by every name, mounted and removed without a trace',
  { skip },
  async () => {
    const { digest, id } = await signed('signed/app');
    const { image, verdict } = await pull('signed/app');
    const name = kit.reference('signed/app');
    const byDigest = `${registry.host}/signed/app@${digest}`;
    assert.deepEqual(
      [image.id, image.digest, image.repoTags, image.repoDigests, image.verdictId],
      [id, digest, [name], [byDigest], verdict.id],
    );
    assert.equal(verdict.outcome, 'admit');
    assert.equal((await logged('admit')).at(-1)?.id, verdict.id);
    for (const way of [
      id,
      id.slice(7),
      id.slice(7, 20),
      id.slice(0, 20),
      name,
      byDigest,
      `${name}@${digest}`,
      digest,
    ])
      assert.equal(kit.store.find(way)?.id, id, way);
    for (const way of ['', 'sha256:', id.slice(7, 15), kit.reference('signed/app', '2'), 'not a name'])
      assert.equal(kit.store.find(way), undefined, way);
    const rootfs = await kit.store.mountRootfs('c1', image);
    assert.deepEqual(await kit.store.mountRootfs('c1', image), rootfs);
    assert.equal(readFileSync(`${rootfs.path}/id`, 'utf8'), 'signed/app');
    writeFileSync(`${rootfs.path}/written`, 'x');
    assert.deepEqual(readdirSync(rootfs.upper), ['written']);
    assert.ok((await kit.store.usage()).usedBytes > 0);
    await kit.store.removeRootfs('c1');
    await kit.store.removeRootfs('c1');
    await kit.store.remove(name);
    await kit.store.remove(name);
    assert.deepEqual(await kit.store.usage(), { mountpoint: kit.root, usedBytes: 0, inodesUsed: 0 });
    for (const path of [kit.root, `${kit.root}/layers`, `${kit.root}/ingest`])
      assert.equal(statSync(path).mode & 0o777, 0o700);
  },
);

test('an unsigned image leaves its verdict and nothing else', { skip }, async () => {
  const image = await pushImage(kit.repository('signed/bare'), {
    layers: [{ tar: await tarOf(base) }],
    tag: '1',
  });
  const refused = await failure(pull('signed/bare'), 'IMAGES_DENIED');
  assert.deepEqual(leftovers(), []);
  assert.equal(refused.kind, 'denied');
  assert.match(
    refused.message,
    /^SignatureValidationFailed: pull image (\S+): \1 \(sha256:\w+\) .*is denied\n/,
  );
  assert.match(refused.message, /\n {2}- rule .*policy\.yaml:[^]*\nsign the image/);
  const { verdictId, digest, rule } = refused.failure.details ?? {};
  assert.equal(digest, image.digest);
  assert.match(String(rule), /policy\.yaml:\d+$/);
  assert.equal((await logged('deny')).at(-1)?.id, verdictId);
  assert.equal(kit.store.list().length, 0);
});

test('a signature of another image proves nothing', { skip }, async () => {
  const other = await signed('signed/other');
  const image = await pushImage(kit.repository('signed/swapped'), {
    layers: [{ tar: await tarOf(base) }],
    tag: '1',
  });
  await kit.sign('signed/other', other.digest);
  const refused = await failure(pull('signed/swapped'), 'IMAGES_DENIED');
  assert.equal(refused.failure.details?.['digest'], image.digest);
});

test('an image that no rule can admit is not requested: its registry need not exist', { skip }, async () => {
  const request = { reference: '127.0.0.1:1/nobody/app:1', namespace: '' };
  await failure(kit.store.pull(request), 'IMAGES_DENIED');
  assert.equal((await logged('deny')).at(-1)?.reference, '127.0.0.1:1/nobody/app:1');
});

test(
  'a registry that is down, a missing image and a malformed name are distinguished',
  { skip },
  async () => {
    await kit.usePolicy(`  - images: ["**"]\n    allow: unverified\n`);
    assert.match(
      (
        await failure(
          kit.store.pull({ reference: '127.0.0.1:1/a:1', namespace: '' }),
          'DISTRIBUTION_UNREACHABLE',
        )
      ).message,
      /^RegistryUnavailable/,
    );
    await failure(pull('open/none'), 'DISTRIBUTION_NOT_FOUND');
    await failure(kit.store.pull({ reference: 'UPPER/Case', namespace: '' }), 'DISTRIBUTION_BAD_REFERENCE');
    kit = await kit.reopen();
  },
);

test('without a policy nothing is admitted', { skip }, async () => {
  await signed('signed/app');
  const { image } = await pull('signed/app');
  await kit.usePolicy(undefined);
  await failure(pull('signed/app'), 'IMAGES_NO_POLICY');
  await failure(kit.store.decideForRun({ image, userSpecified: '', namespace: '' }), 'IMAGES_NO_POLICY');
  kit = await kit.reopen();
});

for (const part of ['manifest', 'config', 'layer'] as const) {
  test(`one flipped byte in the ${part} is detected`, { skip }, async () => {
    const name = `signed/flip-${part}`;
    const { digest, id } = await signed(name);
    const manifest = JSON.parse(readFileSync(registryFile(digest), 'utf8')) as {
      layers: { digest: string }[];
    };
    const file = registryFile(
      { manifest: digest, config: id, layer: manifest.layers[0]?.digest ?? '' }[part],
    );
    flipByte(file);
    const thrown: unknown = await pull(name).catch((error: unknown) => error);
    assert.ok(isPortcullisError(thrown));
    assert.match(thrown.code, /^DISTRIBUTION_|^IMAGES_BAD/, thrown.message);
    assert.deepEqual(leftovers(), []);
    // The bit is restored, because the registry shares blobs among repositories.
    flipByte(file);
    await pull(name);
  });
}

test(
  'content that differs from the configuration is refused after an admitting verdict, and leaves nothing',
  { skip },
  async () => {
    const image = await pushImage(kit.repository('signed/liar'), {
      layers: [{ tar: await tarOf(base) }],
      tag: '1',
      config: { rootfs: { type: 'layers', diff_ids: [`sha256:${'0'.repeat(64)}`] } },
    });
    await kit.sign('signed/liar', image.digest);
    await failure(pull('signed/liar'), 'IMAGES_DIFF_ID_MISMATCH');
    assert.equal(kit.store.list().length, 0);
  },
);

const documents: readonly (readonly [string, string, Readonly<Record<string, unknown>>])[] = [
  ['layers that the configuration does not count', 'IMAGES_BAD_CONFIG', { layers: [] }],
  ['a manifest that is an index as well', 'DISTRIBUTION_BAD_MANIFEST', { manifests: [] }],
  [
    'an unknown layer type',
    'IMAGES_BAD_MANIFEST',
    { layers: [{ mediaType: 'text/plain', digest: `sha256:${'1'.repeat(64)}`, size: 1 }] },
  ],
  [
    'a foreign layer',
    'IMAGES_BAD_MANIFEST',
    {
      layers: [
        {
          mediaType: 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip',
          digest: `sha256:${'1'.repeat(64)}`,
          size: 1,
          urls: ['http://127.0.0.1:1/'],
        },
      ],
    },
  ],
  [
    'a layer beyond the size limit',
    'IMAGES_TOO_LARGE',
    {
      layers: [
        {
          mediaType: 'application/vnd.oci.image.layer.v1.tar',
          digest: `sha256:${'1'.repeat(64)}`,
          size: 2 ** 50,
        },
      ],
    },
  ],
];
for (const [what, code, manifest] of documents) {
  test(`${what}: ${code}`, { skip }, async (t) => {
    const name = `open/doc-${documents.findIndex(([other]) => other === what)}`;
    try {
      await pushImage(kit.repository(name), { layers: [{ tar: await tarOf(base) }], tag: '1', manifest });
    } catch (thrown) {
      // docker-registry itself checks some manifests: such a manifest is written directly into its storage.
      t.diagnostic(String(thrown));
      const image = await pushImage(kit.repository(name), { layers: [{ tar: await tarOf(base) }], tag: '1' });
      const file = registryFile(image.digest);
      writeFileSync(
        file,
        JSON.stringify({ ...(JSON.parse(readFileSync(file, 'utf8')) as object), ...manifest }),
      );
    }
    const thrown: unknown = await pull(name).catch((error: unknown) => error);
    assert.ok(isPortcullisError(thrown), String(thrown));
    assert.ok(
      [code, 'DISTRIBUTION_DIGEST_MISMATCH', 'DISTRIBUTION_BAD_ANSWER', 'DISTRIBUTION_BAD_MANIFEST'].includes(
        thrown.code,
      ),
      thrown.message,
    );
  });
}

test(
  'a pull of an index uses the manifest of this platform, and a signature on the index counts',
  { skip },
  async () => {
    const repository = kit.repository('signed/multi');
    const mine = await pushImage(repository, { layers: [{ tar: await tarOf(base) }] });
    const other = await pushImage(repository, {
      layers: [{ tar: await tarOf(base) }],
      config: { architecture: 's390x' },
    });
    const entry = (digest: string, architecture: string) => ({
      mediaType: ociManifest,
      digest,
      size: statSync(registryFile(digest)).size,
      platform: { os: 'linux', architecture },
    });
    const index = (entries: readonly object[]) =>
      repository.pushManifest(
        Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: ociIndex, manifests: entries })),
        ociIndex,
        {
          tag: '1',
        },
      );
    const both = await index([entry(other.digest, 's390x'), entry(mine.digest, 'amd64')]);
    await kit.sign('signed/multi', both.digest);
    const { image } = await pull('signed/multi');
    assert.deepEqual([image.digest, image.manifestDigest, image.id], [both.digest, mine.digest, mine.id]);
    const foreign = await index([entry(other.digest, 's390x')]);
    await kit.sign('signed/multi', foreign.digest);
    assert.match((await failure(pull('signed/multi'), 'IMAGES_NO_PLATFORM')).message, /s390x/);
    // The configuration reveals an entry with a wrong platform.
    const lying = await index([entry(other.digest, 'amd64')]);
    await kit.sign('signed/multi', lying.digest);
    await failure(pull('signed/multi'), 'IMAGES_NO_PLATFORM');
  },
);

test('a pull of a present image fetches no blob, decides again, and adds the name', { skip }, async () => {
  const { digest } = await signed('signed/twice');
  const { image } = await pull('signed/twice');
  const manifest = JSON.parse(readFileSync(registryFile(digest), 'utf8')) as { layers: { digest: string }[] };
  const blob = registryFile(manifest.layers[0]?.digest ?? '');
  const kept = readFileSync(blob);
  rmSync(blob);
  try {
    await kit
      .repository('signed/twice')
      .pushManifest(readFileSync(registryFile(digest)), ociManifest, { tag: '2' })
      .catch(() => undefined);
    const before = (await logged('admit')).length;
    assert.equal((await pull('signed/twice')).image.id, image.id);
    assert.equal((await logged('admit')).length, before + 1);
  } finally {
    writeFileSync(blob, kept);
  }
  await kit
    .repository('signed/twice')
    .pushManifest(readFileSync(registryFile(digest)), ociManifest, { tag: '2' });
  const again = await pull('signed/twice', { tag: '2' });
  assert.deepEqual(again.image.repoTags, [kit.reference('signed/twice'), kit.reference('signed/twice', '2')]);
  assert.equal(again.image.repoDigests.length, 1);
  assert.equal(kit.store.list().length, 1);
});

test('a tag that moves leaves the old image without it', { skip }, async () => {
  const first = await signed('signed/moving', [...base, { name: 'v', body: '1' }]);
  await pull('signed/moving');
  const second = await signed('signed/moving', [...base, { name: 'v', body: '2' }]);
  await pull('signed/moving');
  const [old, current] = kit.store.list();
  assert.deepEqual([old?.id, old?.repoTags, old?.repoDigests.length], [first.id, [], 1]);
  assert.deepEqual([current?.id, current?.repoTags], [second.id, [kit.reference('signed/moving')]]);
  kit = await kit.reopen();
  assert.deepEqual(
    kit.store.list().map(({ id, repoTags }) => [id, repoTags]),
    [
      [first.id, []],
      [second.id, [kit.reference('signed/moving')]],
    ],
  );
});

test(
  'concurrent pulls share their work, and a refused pull does not affect the others',
  { skip },
  async () => {
    const layers = await Promise.all(
      [1, 2, 3].map(async (part) => ({
        tar: await tarOf([
          { name: `d${part}`, type: 'directory' },
          { name: `d${part}/f`, body: randomBytes(300_000) },
        ]),
      })),
    );
    for (const name of ['signed/s1', 'signed/s2', 'signed/s3']) {
      const image = await pushImage(kit.repository(name), { layers, tag: '1', label: name });
      await kit.sign(name, image.digest);
    }
    await pushImage(kit.repository('signed/bad'), { layers, tag: '1', label: 'bad' });
    const names = [
      'signed/s1',
      'signed/bad',
      'signed/s2',
      'signed/s1',
      'signed/s3',
      'signed/bad',
      'signed/s1',
      'signed/s2',
    ];
    const results = await Promise.allSettled(names.map((name) => pull(name)));
    assert.deepEqual(
      results.map(({ status }) => status),
      names.map((name) => (name === 'signed/bad' ? 'rejected' : 'fulfilled')),
    );
    assert.equal(readdirSync(`${kit.root}/layers`).length, 3);
    assert.equal(readdirSync(`${kit.root}/blobs/sha256`).length, 3);
    assert.deepEqual([...readdirSync(`${kit.root}/ingest`), ...readdirSync(`${kit.root}/staging`)], []);
    await failure(pull('signed/bad'), 'IMAGES_DENIED');
    await kit.store.remove(kit.reference('signed/s1'));
    const left = kit.store.find(kit.reference('signed/s2'));
    assert.ok(left);
    const rootfs = await kit.store.mountRootfs('shared', left);
    assert.deepEqual(readdirSync(rootfs.path), ['d1', 'd2', 'd3']);
    await kit.store.removeRootfs('shared');
  },
);

test(
  'images with the same layer above different layers do not share a layer that depends on them',
  { skip },
  async () => {
    const top = await tarOf([
      { name: 'home/user/.profile', body: 'p' },
      { name: 'link', type: 'link', linkname: 'who' },
    ]);
    for (const [name, uid] of [
      ['signed/u1', 1],
      ['signed/u2', 2],
    ] as const) {
      const below = await tarOf([
        { name: 'home', type: 'directory' },
        { name: 'home/user', type: 'directory', uid },
        { name: 'who', body: name },
      ]);
      const image = await pushImage(kit.repository(name), {
        layers: [{ tar: below }, { tar: top }],
        tag: '1',
      });
      await kit.sign(name, image.digest);
    }
    for (const [name, uid] of [
      ['signed/u1', 1],
      ['signed/u2', 2],
    ] as const) {
      const { image } = await pull(name);
      const rootfs = await kit.store.mountRootfs('u', image);
      assert.equal(statSync(`${rootfs.path}/home/user`).uid, uid);
      assert.equal(readFileSync(`${rootfs.path}/link`, 'utf8'), name);
      await kit.store.removeRootfs('u');
    }
  },
);

test('a pull that is cancelled leaves nothing, whenever it happens', { skip }, async () => {
  const layers = await Promise.all(
    [1, 2].map(async (part) => ({ tar: await tarOf([{ name: `f${part}`, body: randomBytes(4_000_000) }]) })),
  );
  const image = await pushImage(kit.repository('signed/large'), { layers, tag: '1' });
  await kit.sign('signed/large', image.digest);
  for (const delay of [0, 3, 8, 15, 25, 40]) {
    const stop = new AbortController();
    setTimeout(() => {
      stop.abort(new Error('the caller went away'));
    }, delay);
    const outcome: unknown = await pull('signed/large', { signal: stop.signal }).catch(
      (thrown: unknown) => thrown,
    );
    if (isPortcullisError(outcome)) {
      assert.equal(outcome.code, 'IMAGES_CANCELLED', outcome.message);
      assert.deepEqual(leftovers(), [], `after ${delay} ms`);
    } else {
      await kit.store.remove(image.id);
    }
  }
  await pull('signed/large');
});

test('the decision for a run uses the namespace, the policy and the name', { skip }, async () => {
  const { digest } = await signed('signed/run');
  const { image } = await pull('signed/run');
  const name = kit.reference('signed/run');
  const run = (userSpecified: string, namespace = 'default') =>
    kit.store.decideForRun({ image, userSpecified, namespace });
  for (const way of ['', image.id, name, `${registry.host}/signed/run@${digest}`])
    assert.equal((await run(way)).outcome, 'admit', way);
  const count = (await logged('admit')).length;
  for (let round = 0; round < 5; round++) await run('');
  assert.equal((await logged('admit')).length, count);
  await failure(run(kit.reference('signed/run', '9')), 'IMAGES_NAME_NOT_RECORDED');
  await kit.usePolicy(
    `  - images: ["${registry.host}/signed/**"]\n    namespaces: ["pay-*"]\n    require: { cosign: { key: k.pub } }\n`,
  );
  assert.equal((await run('', 'pay-1')).outcome, 'admit');
  const refused = await failure(run('', 'default'), 'IMAGES_DENIED');
  assert.equal((await logged('deny')).at(-1)?.id, refused.failure.details?.['verdictId']);
  await failure(run('', ''), 'IMAGES_DENIED');
  kit = await kit.reopen();
});

test(
  'without a name, every recorded name must be admitted, and all their ceilings apply',
  { skip },
  async () => {
    const rules = (second: string) =>
      `  - images: ["${registry.host}/signed/**"]\n    require: { cosign: { key: k.pub } }\n    entitlements: { ceiling: restricted }\n  - images: ["${registry.host}/open/**"]\n${second}`;
    await kit.usePolicy(rules('    allow: unverified\n    entitlements: { ceiling: baseline }\n'));
    const layers = [{ tar: await tarOf(base) }];
    for (const name of ['signed/same', 'open/same']) {
      const { digest } = await pushImage(kit.repository(name), { layers, tag: '1', label: 'same' });
      if (name === 'signed/same') await kit.sign(name, digest);
      await pull(name);
    }
    const [image] = kit.store.list();
    assert.ok(image);
    assert.equal(image.repoTags.length, 2);
    assert.equal(image.unverified, true);
    const verdict = await kit.store.decideForRun({ image, userSpecified: '', namespace: '' });
    assert.deepEqual(verdict.ceilings.map(({ ceiling }) => ceiling).sort(), ['baseline', 'restricted']);
    await kit.usePolicy(rules('    require: { cosign: { key: k.pub } }\n'));
    await failure(kit.store.decideForRun({ image, userSpecified: '', namespace: '' }), 'IMAGES_DENIED');
    assert.equal(
      (await kit.store.decideForRun({ image, userSpecified: kit.reference('signed/same'), namespace: '' }))
        .outcome,
      'admit',
    );
    kit = await kit.reopen();
  },
);

test(
  'an image whose /dev, /proc, /sys or /etc is a symlink is never a root file system',
  { skip },
  async () => {
    for (const name of ['dev', 'proc', 'sys', 'etc']) {
      await signed(`signed/evil-${name}`, [
        { name: 'host', type: 'directory' },
        { name, type: 'symlink', linkname: kit.folder },
      ]);
      const { image } = await pull(`signed/evil-${name}`);
      await failure(kit.store.mountRootfs('evil', image), 'IMAGES_UNSAFE_ROOTFS');
      assert.equal(existsSync(`${kit.root}/rootfs/evil`), false);
    }
  },
);

test('names that are not container ids are refused', { skip }, async () => {
  await signed('signed/app');
  const { image } = await pull('signed/app');
  for (const id of ['', '..', '../x', 'a/b', '.'])
    await failure(kit.store.mountRootfs(id, image), 'IMAGES_ROOTFS_FAILED');
  await failure(kit.store.removeRootfs('../layers'), 'IMAGES_ROOTFS_FAILED');
});

test(
  'an image that is removed while a container uses it stays until the container is removed',
  { skip },
  async () => {
    await signed('signed/used');
    const { image } = await pull('signed/used');
    const rootfs = await kit.store.mountRootfs('user', image);
    await kit.store.remove(image.id);
    assert.equal(kit.store.list().length, 0);
    assert.equal(readFileSync(`${rootfs.path}/id`, 'utf8'), 'signed/used');
    assert.equal(readdirSync(`${kit.root}/layers`).length, 1);
    // It is pulled again meanwhile, and uses the same layer.
    await pull('signed/used');
    assert.equal(readdirSync(`${kit.root}/layers`).length, 1);
    await kit.store.remove(image.id);
    kit = await kit.reopen();
    await kit.store.reconcile(new Set(['user']));
    assert.equal(readFileSync(`${rootfs.path}/id`, 'utf8'), 'signed/used');
    await kit.store.reconcile(new Set());
    assert.equal(isMountpoint(rootfs.path), false);
  },
);

test(
  'a mount point of a mapped root that reappears after a power loss is removed by the next reconciliation',
  { skip },
  async () => {
    mkdirSync(`${kit.root}/mapped/returned/merged`, { recursive: true });
    kit = await kit.reopen();
    await kit.store.reconcile(new Set());
    assert.equal(existsSync(`${kit.root}/mapped/returned`), false);
  },
);

test('an image without layers has an empty root', { skip }, async () => {
  const image = await pushImage(kit.repository('signed/scratch'), { layers: [], tag: '1' });
  await kit.sign('signed/scratch', image.digest);
  const pulled = await pull('signed/scratch');
  const rootfs = await kit.store.mountRootfs('scratch', pulled.image);
  assert.deepEqual(readdirSync(rootfs.path), []);
  writeFileSync(`${rootfs.path}/x`, '');
  await kit.store.removeRootfs('scratch');
});

test('sixty and more layers mount', { skip }, async () => {
  const layers = await Promise.all(
    Array.from({ length: 70 }, async (_, index) => ({
      tar: await tarOf([{ name: `f${index}`, body: String(index) }]),
    })),
  );
  const image = await pushImage(kit.repository('signed/tall'), { layers, tag: '1' });
  await kit.sign('signed/tall', image.digest);
  const pulled = await pull('signed/tall');
  const rootfs = await kit.store.mountRootfs('tall', pulled.image);
  assert.equal(readdirSync(rootfs.path).length, 70);
  await kit.store.removeRootfs('tall');
});

/** Reopens the store as after a power cut: the machine was restarted, and the store was not closed. */
async function reopenAfterPowerCut(damage: () => void): Promise<void> {
  const folder = kit.root;
  await kit.store.close();
  writeFileSync(`${folder}/last-run.json`, JSON.stringify({ bootId: 'another', clean: false }));
  damage();
  kit = await kit.reopen();
  await kit.store.reconcile(new Set());
  await kit.store.checkLayers();
}

test('files that a power cut emptied are restored from the blob', { skip }, async () => {
  await signed('signed/cut');
  const { image } = await pull('signed/cut');
  const file = contentOf(`${kit.root}/layers/${readdirSync(`${kit.root}/layers`)[0] ?? ''}`, 'bin/sh');
  const [content, mode] = [readFileSync(file), lstatSync(file).mode];
  await reopenAfterPowerCut(() => {
    writeFileSync(file, '');
  });
  assert.ok(content.includes('shell'));
  assert.deepEqual(readFileSync(file), content);
  assert.equal(lstatSync(file).mode, mode);
  assert.equal(kit.store.find(image.id)?.id, image.id);
});

test('an image that cannot be restored is dropped, and can be pulled again', { skip }, async () => {
  await signed('signed/lost');
  const { image } = await pull('signed/lost');
  const layer = `${kit.root}/layers/${readdirSync(`${kit.root}/layers`)[0] ?? ''}`;
  await reopenAfterPowerCut(() => {
    writeFileSync(contentOf(layer, 'bin/sh'), '');
    for (const name of readdirSync(`${kit.root}/blobs/sha256`)) rmSync(`${kit.root}/blobs/sha256/${name}`);
  });
  assert.equal(kit.store.find(image.id), undefined);
  await pull('signed/lost');
  assert.ok(readFileSync(contentOf(layer, 'bin/sh')).includes('shell'));
});

test('files without a record that an earlier run left are removed', { skip }, async () => {
  await signed('signed/rest');
  await pull('signed/rest');
  const before = leftovers();
  for (const path of [
    `ingest/${'a'.repeat(64)}.1.0`,
    `staging/x`,
    `layers/${'b'.repeat(64)}`,
    `blobs/sha256/${'c'.repeat(64)}`,
    'trash/x',
  ])
    writeFileSync(`${kit.root}/${path}`, 'x');
  kit = await kit.reopen();
  await kit.store.reconcile(new Set());
  assert.deepEqual(leftovers(), before);
});
