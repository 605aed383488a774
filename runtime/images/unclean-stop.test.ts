import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { flagsOfSources } from '../../test/fixtures/bundled-workers-flag.ts';
import { holdDescriptors } from '../../base/process/descriptors.fixture.ts';
import { currentBootId } from '../../base/process/index.ts';
import type { TestRegistry } from '../../test/fixtures/registry.ts';
import { openStoreForTests, skip } from './store-for-tests.fixture.ts';
import { contentOf, pushImage, storesFiles, tarOf } from './test-kit.ts';
import type { Kit } from './test-kit.ts';
import type { ImageRecord } from './types.ts';

const run = promisify(execFile);
let registry: TestRegistry;
let kit: Kit;

openStoreForTests({
  opened: (opened, its) => {
    kit = opened;
    registry = its;
  },
  current: () => kit,
  empty: ['ingest', 'staging', 'blobs/sha256', 'layers', 'rootfs'],
  reconciles: true,
});

const lowest = () => tarOf([{ name: 'bin/sh', body: 'shell', mode: 0o755 }]);

/** Pulls an image of two layers; the first is the same in all images. Returns the path of the first. */
async function pulled(name: string): Promise<{ readonly image: ImageRecord; readonly layer: string }> {
  await pushImage(kit.repository(`open/${name}`), {
    layers: [{ tar: await lowest() }, { tar: await tarOf([{ name: 'id', body: name }]) }],
    tag: '1',
    label: name,
  });
  const { image } = await kit.store.pull({ reference: kit.reference(`open/${name}`), namespace: '' });
  return { image, layer: `${kit.root}/layers/${image.layers[0]?.slice('sha256:'.length) ?? ''}` };
}

/**
 * Closes the store, writes `mark` as the mark of its stop, and opens the store like a start that has not
 * reached the checks.
 */
async function reopenAfter(mark: object, damage: () => void): Promise<void> {
  await kit.store.close();
  writeFileSync(`${kit.root}/last-run.json`, JSON.stringify(mark));
  damage();
  kit = await kit.reopen();
  await kit.store.reconcile(new Set());
}
const powerCut = { bootId: 'another', clean: false };
const killed = { bootId: currentBootId(), clean: false };
const shellOf = (layer: string): string =>
  readFileSync(contentOf(layer, 'bin/sh')).includes('shell') ? 'shell' : '';
/** The file without which a layer cannot be checked. */
const listOf = (layer: string): string => `${layer}/${storesFiles ? 'layer.erofs' : 'files.ndjson'}`;
const empty = (layer: string): void => {
  writeFileSync(contentOf(layer, 'bin/sh'), '');
};

test(
  'the check after a power cut still happens after starts that end before it, and after an orderly stop',
  { skip },
  async () => {
    const { layer } = await pulled('early');
    await reopenAfter(powerCut, () => {
      empty(layer);
    });
    // Stopped in order, then killed, both times before a file was compared.
    kit = await kit.reopen();
    await reopenAfter(killed, () => undefined);
    assert.equal(shellOf(layer), '');
    await kit.store.checkLayers();
    assert.equal(shellOf(layer), 'shell');
  },
);

test('a start does not wait for the check, but the first use does', { skip }, async () => {
  const { image, layer } = await pulled('first');
  await reopenAfter(powerCut, () => {
    empty(layer);
  });
  assert.equal(shellOf(layer), '');
  const { path } = await kit.store.mountRootfs('c1', image);
  assert.equal(readFileSync(`${path}/bin/sh`, 'utf8'), 'shell');
  await reopenAfter(powerCut, () => {
    empty(layer);
  });
  const tree = await kit.store.mountVolume('c2', 0, image);
  assert.equal(readFileSync(`${tree}/bin/sh`, 'utf8'), 'shell');
  // A checked layer is not read again: the store trusts it until it stops.
  empty(layer);
  await kit.store.checkLayers();
  assert.equal(shellOf(layer), '');
  await reopenAfter(powerCut, () => undefined);
  await kit.store.checkLayers();
  assert.equal(shellOf(layer), 'shell');
});

test('a pull that shares a layer checks it before it reports a complete image', { skip }, async () => {
  const { layer } = await pulled('shared');
  await reopenAfter(powerCut, () => {
    empty(layer);
  });
  await pulled('sharing');
  assert.equal(shellOf(layer), 'shell');
});

for (const [what, damage] of [
  ['its list of files is missing', (layer) => rmSync(listOf(layer))],
  ['its list of files is a folder', (layer) => (rmSync(listOf(layer)), mkdirSync(listOf(layer)))],
  ['all of it is missing', (layer) => rmSync(layer, { recursive: true })],
  ['a file is in its place', (layer) => (rmSync(layer, { recursive: true }), writeFileSync(layer, ''))],
] as readonly (readonly [string, (layer: string) => void])[]) {
  test(`a layer that cannot be checked is restored: ${what}`, { skip }, async () => {
    const { image, layer } = await pulled('unseen');
    await reopenAfter(powerCut, () => {
      damage(layer);
    });
    await kit.store.checkLayers();
    assert.equal(shellOf(layer), 'shell');
    assert.ok(statSync(listOf(layer)).isFile());
    assert.equal(kit.store.find(image.id)?.id, image.id);
  });
}

test('a layer whose folder disappeared during a run is restored too', { skip }, async () => {
  const { image, layer } = await pulled('gone');
  rmSync(layer, { recursive: true });
  await kit.store.reconcile(new Set());
  const { path } = await kit.store.mountRootfs('c1', image);
  assert.equal(readFileSync(`${path}/bin/sh`, 'utf8'), 'shell');
});

test('the first use of an image that cannot be restored says that it must be pulled', { skip }, async () => {
  const { image, layer } = await pulled('lost');
  await reopenAfter(powerCut, () => {
    empty(layer);
    for (const name of readdirSync(`${kit.root}/blobs/sha256`)) rmSync(`${kit.root}/blobs/sha256/${name}`);
  });
  await assert.rejects(kit.store.mountRootfs('c1', image), { code: 'IMAGES_NOT_FOUND' });
  assert.equal(kit.store.find(image.id), undefined);
  assert.deepEqual(readdirSync(`${kit.root}/layers`), []);
  await pulled('lost');
  assert.equal(shellOf(layer), 'shell');
});

test('the restoring of a layer removes no file from a running container', { skip }, async () => {
  const { image, layer } = await pulled('running');
  const { path } = await kit.store.mountRootfs('c1', image);
  await kit.store.close();
  writeFileSync(`${kit.root}/last-run.json`, JSON.stringify(killed));
  rmSync(listOf(layer));
  kit = await kit.reopen();
  await kit.store.reconcile(new Set(['c1']));
  await kit.store.checkLayers();
  await kit.kernel.syncfs(kit.root);
  assert.equal(readFileSync(`${path}/bin/sh`, 'utf8'), 'shell');
  assert.equal(readdirSync(`${kit.root}/layers`).length, 3);
  await kit.store.removeRootfs('c1');
  assert.equal(readdirSync(`${kit.root}/layers`).length, 2);
});

test(
  'a root file system whose list of layers was never written is mounted again, because its layers may have been removed',
  { skip },
  async () => {
    const { image, layer } = await pulled('unlisted');
    await kit.store.mountRootfs('c1', image);
    await kit.store.close();
    // The state after a kill between the mount and the list; then the layer is restored.
    writeFileSync(`${kit.root}/last-run.json`, JSON.stringify(killed));
    rmSync(`${kit.root}/rootfs/c1/layers.json`);
    rmSync(listOf(layer));
    kit = await kit.reopen();
    await kit.store.reconcile(new Set(['c1']));
    await kit.store.checkLayers();
    const { path } = await kit.store.mountRootfs('c1', image);
    if (!storesFiles)
      assert.equal(
        statSync(`${path}/bin/sh`).ino,
        statSync(`${layer}/fs/bin/sh`).ino,
        'the layer below it was removed',
      );
    assert.equal(readFileSync(`${path}/bin/sh`, 'utf8'), 'shell');
    await kit.store.removeRootfs('c1');
  },
);

test(
  'a layer that cannot be checked because no descriptor is free stays unchecked, and its image stays',
  { skip },
  async () => {
    const { image, layer } = await pulled('descriptors');
    await reopenAfter(powerCut, () => {
      empty(layer);
    });
    // Its Workers run already: without descriptors they could not be started, which is another failure.
    await pushImage(kit.repository('open/warm'), {
      layers: [{ tar: await tarOf([{ name: 'warm' }]) }],
      tag: '1',
    });
    await kit.store.pull({ reference: kit.reference('open/warm'), namespace: '' });
    const descriptors = holdDescriptors();
    let failure: unknown;
    try {
      descriptors.fill();
      failure = await kit.store.mountRootfs('c1', image).catch((thrown: unknown) => thrown);
    } finally {
      descriptors.release();
    }
    assert.equal((failure as { code?: string }).code, 'IMAGES_LAYER_UNCHECKED', String(failure));
    assert.equal(kit.store.find(image.id)?.id, image.id, 'a kubelet would have to pull it again');
    const { path } = await kit.store.mountRootfs('c1', image);
    assert.equal(readFileSync(`${path}/bin/sh`, 'utf8'), 'shell');
    await kit.store.removeRootfs('c1');
  },
);

/** Reads of it fail with EIO: nothing is mapped at the address 0. */
const unreadable = '/proc/self/mem';

test(
  'if the disk does not read a blob, its damaged layer is not used, and the image stays recorded until the blob can be read',
  { skip },
  async () => {
    const { image, layer } = await pulled('unread');
    const blobs = `${kit.root}/blobs/sha256`;
    await reopenAfter(powerCut, () => {
      empty(layer);
      for (const name of readdirSync(blobs)) {
        renameSync(`${blobs}/${name}`, `${kit.folder}/${name}`);
        symlinkSync(unreadable, `${blobs}/${name}`);
      }
    });
    await kit.store.checkLayers();
    await assert.rejects(kit.store.mountRootfs('c1', image), (thrown: Error) => {
      assert.equal((thrown as { code?: string }).code, 'IMAGES_LAYER_UNCHECKED', String(thrown));
      assert.match(thrown.message, /EIO/u);
      return true;
    });
    assert.equal(kit.store.find(image.id)?.id, image.id, 'a read that failed has removed an image');
    for (const name of readdirSync(blobs)) renameSync(`${kit.folder}/${name}`, `${blobs}/${name}`);
    const { path } = await kit.store.mountRootfs('c1', image);
    assert.equal(readFileSync(`${path}/bin/sh`, 'utf8'), 'shell');
    await kit.store.removeRootfs('c1');
  },
);

// A layer file is never opened through a link.
const skipLink = storesFiles ? 'the test replaces a file by a link' : skip;

test(
  'a layer that the disk does not read, and whose blob is damaged, stays recorded',
  { skip: skipLink },
  async () => {
    const { image, layer } = await pulled('unseen-twice');
    const list = listOf(layer);
    await reopenAfter(powerCut, () => {
      renameSync(list, `${kit.folder}/list`);
      symlinkSync(unreadable, list);
      for (const name of readdirSync(`${kit.root}/blobs/sha256`))
        writeFileSync(`${kit.root}/blobs/sha256/${name}`, 'damaged');
    });
    await kit.store.checkLayers();
    assert.equal(kit.store.find(image.id)?.id, image.id, 'the layer may be undamaged');
    renameSync(`${kit.folder}/list`, list);
    const { path } = await kit.store.mountRootfs('c1', image);
    assert.equal(readFileSync(`${path}/bin/sh`, 'utf8'), 'shell');
    await kit.store.removeRootfs('c1');
  },
);

interface Trouble {
  readonly begin: string;
  readonly end: string;
}

/** Runs in its own mount namespace, on a small disk that cannot be written to between the two statements. */
const onSmallDisk = (host: string, folder: string, { begin, end }: Trouble): string => `
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { contentOf, openKit, pushImage, tarOf } from ${JSON.stringify(new URL('./test-kit.ts', import.meta.url).href)};
const [host, folder] = ${JSON.stringify([host, folder])};
// Without the database: what is lost there is recorded.
mkdirSync(folder + '/images');
execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'none', folder + '/images']);
const codeOf = (promise) => promise.then(() => 'ok', (error) => error.code);
let kit = await openKit(host, { folder });
await pushImage(kit.repository('open/full'), { layers: [{ tar: await tarOf([{ name: 'data', body: Buffer.alloc(2_000_000, 'x') }]) }], tag: '1' });
const { image } = await kit.store.pull({ reference: kit.reference('open/full'), namespace: '' });
await kit.close({ keep: true });
const data = contentOf(kit.root + '/layers/' + image.layers[0].slice(7), 'data');
const whole = readFileSync(data).length;
writeFileSync(data, '');
writeFileSync(kit.root + '/last-run.json', JSON.stringify({ bootId: 'another', clean: false }));
kit = await openKit(host, { folder });
await kit.store.reconcile(new Set());
${begin};
const failed = await codeOf(kit.store.mountRootfs('c1', image));
const listed = kit.store.find(image.id) !== undefined;
${end};
const free = await codeOf(kit.store.mountRootfs('c1', image));
const missing = whole - readFileSync(data).length;
await kit.store.removeRootfs('c1');
await kit.close({ keep: true });
process.stdout.write(JSON.stringify({ failed, listed, free, missing }));
`;

const remount = (how: string): string =>
  `execFileSync('mount', ['-o', 'remount,${how}', folder + '/images'])`;
const troubles: readonly (readonly [string, Trouble])[] = [
  [
    'a full disk',
    {
      begin: `try { writeFileSync(kit.root + '/filler', Buffer.alloc(32_000_000)); } catch {}`,
      end: `rmSync(kit.root + '/filler')`,
    },
  ],
  // As the kernel mounts it after an error (ext4, errors=remount-ro).
  ['a disk that has become read-only', { begin: remount('ro'), end: remount('rw') }],
];
for (const [what, trouble] of troubles)
  test(
    `on ${what}, a damaged layer is not used, and its image stays recorded until the disk can be written`,
    { skip, timeout: 60_000 },
    async () => {
      const program = onSmallDisk(registry.host, mkdtempSync(`${kit.folder}/small-`), trouble);
      const { stdout } = await run('unshare', [
        '-m',
        '--propagation',
        'private',
        process.execPath,
        ...flagsOfSources(),
        '--input-type=module-typescript',
        '-e',
        program,
      ]);
      assert.deepEqual(JSON.parse(stdout), {
        failed: 'IMAGES_LAYER_UNCHECKED',
        listed: true,
        free: 'ok',
        missing: 0,
      });
    },
  );
