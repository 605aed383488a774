import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { holdDescriptors } from '../../base/process/descriptors.fixture.ts';
import { isMountpoint } from '../../base/kernel/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { storeFolders } from './folders.ts';
import { readLayerList } from './layer-list.ts';
import { openStoreForTests, skip } from './store-for-tests.fixture.ts';
import { pushImage, sha256, tarOf } from './test-kit.ts';
import type { Kit } from './test-kit.ts';
import type { ImageRecord } from './types.ts';

let kit: Kit;

openStoreForTests({
  opened: (opened) => void (kit = opened),
  current: () => kit,
  reconciles: true,
});

async function push(name: string): Promise<void> {
  const tar = await tarOf([{ name: 'bin/sh', body: 'shell', mode: 0o755 }]);
  await pushImage(kit.repository(`open/${name}`), { layers: [{ tar }], tag: '1', label: name });
}
const pull = async (name: string): Promise<ImageRecord> =>
  (await kit.store.pull({ reference: kit.reference(`open/${name}`), namespace: '' })).image;
const count = (name: string): number => readdirSync(`${kit.root}/${name}`).length;

/** Runs `body` while another connection holds the database: the store's writes wait. */
async function whileWritesWait<T>(body: () => Promise<T>): Promise<T> {
  const other = new DatabaseSync(`${kit.folder}/state.db`);
  other.exec('BEGIN IMMEDIATE');
  try {
    return await body();
  } finally {
    other.exec('ROLLBACK');
    other.close();
  }
}

for (const [what, isSame] of [
  ['another image with the same layer', false],
  ['the same image', true],
] as const) {
  test(
    `the removal of an image during a pull of ${what} leaves the pulled image complete`,
    { skip, timeout: 60_000 },
    async () => {
      const [removed, pulled] = ['removed', isSame ? 'removed' : 'pulled'];
      await push(removed);
      await push(pulled);
      const image = await pull(removed);
      // The rows that a pull reads from the database are now cached: the next pull gets to its layers while
      // writes wait.
      if (!isSame) await kit.store.remove((await pull(pulled)).id);
      // Its layer has no owner from the moment when the container is removed.
      await kit.store.mountRootfs('last', image);
      await kit.store.remove(image.id);
      const [removing, pulling] = await whileWritesWait(async () => {
        const removing = kit.store.removeRootfs('last');
        while (count('rootfs') > 0) await sleep(10);
        // The sweep follows at once, and waits for the database. Meanwhile the pull gets to its layers, and
        // waits as well.
        await sleep(300);
        const pulling = pull(pulled);
        await sleep(1500);
        return [removing, pulling] as const;
      });
      await removing;
      const found = await pulling;
      const { path } = await kit.store.mountRootfs('next', found);
      assert.equal(readFileSync(`${path}/bin/sh`, 'utf8'), 'shell');
      assert.deepEqual(
        [count('layers'), count('blobs/sha256'), count('staging'), count('ingest')],
        [1, 1, 0, 0],
      );
      await kit.store.removeRootfs('next');
      await kit.store.remove(found.id);
      assert.deepEqual([count('layers'), count('blobs/sha256')], [0, 0]);
    },
  );
}

test(
  'a removal that fails leaves its layer to the pulls that come after it',
  { skip, timeout: 60_000 },
  async () => {
    await push('kept');
    const image = await pull('kept');
    await kit.store.mountRootfs('last', image);
    await kit.store.remove(image.id);
    // The store gives up before the other connection releases the database.
    await whileWritesWait(() => assert.rejects(kit.store.removeRootfs('last'), { code: 'STORAGE_BUSY' }));
    const found = await pull('kept');
    const { path } = await kit.store.mountRootfs('next', found);
    assert.equal(readFileSync(`${path}/bin/sh`, 'utf8'), 'shell');
    await kit.store.removeRootfs('next');
    await kit.store.remove(found.id);
    assert.deepEqual([count('layers'), count('blobs/sha256')], [0, 0]);
  },
);

test(
  'a layer whose image is removed while a pull has a claim on it is removed when the pull fails',
  { skip, timeout: 60_000 },
  async () => {
    await push('held');
    const image = await pull('held');
    const below = await tarOf([{ name: 'bin/sh', body: 'shell', mode: 0o755 }]);
    const slow = await tarOf([{ name: 'zeros', body: Buffer.alloc(300_000_000) }]);
    // It takes a while to unpack, and is then found to differ from the layer that the image names.
    const rootfs = { type: 'layers', diff_ids: [sha256(below), `sha256:${'0'.repeat(64)}`] };
    await pushImage(kit.repository('open/failing'), {
      layers: [{ tar: below }, { tar: slow }],
      tag: '1',
      config: { rootfs },
    });
    const failing = assert.rejects(pull('failing'), { code: 'IMAGES_DIFF_ID_MISMATCH' });
    while (count('staging') === 0) await sleep(5);
    await kit.store.remove(image.id);
    assert.equal(count('layers'), 1, 'the pull ended before the image was removed');
    await failing;
    assert.deepEqual(
      [count('layers'), count('blobs/sha256'), count('staging'), count('ingest')],
      [0, 0, 0, 0],
    );
  },
);

test(
  'a root file system keeps its layers when it is created again after a kill interrupted its creation',
  { skip, timeout: 60_000 },
  async () => {
    await push('cut-off');
    const image = await pull('cut-off');
    // Killed before the list of layers was written.
    mkdirSync(`${kit.root}/rootfs/c1/upper`, { recursive: true });
    kit = await kit.reopen();
    await kit.store.reconcile(new Set(['c1']));
    const { path } = await kit.store.mountRootfs('c1', image);
    await kit.store.remove(image.id);
    assert.equal(count('layers'), 1, 'the container uses it');
    assert.equal(readFileSync(`${path}/bin/sh`, 'utf8'), 'shell');
    await kit.store.removeRootfs('c1');
    assert.equal(count('layers'), 0);
  },
);

test(
  'a container of an image without layers keeps no layer of another image',
  { skip, timeout: 60_000 },
  async () => {
    await pushImage(kit.repository('open/scratch'), { layers: [], tag: '1', label: 'scratch' });
    await push('other');
    const { image: scratch } = await kit.store.pull({
      reference: kit.reference('open/scratch'),
      namespace: '',
    });
    const other = await pull('other');
    await kit.store.mountRootfs('c1', scratch);
    kit = await kit.reopen();
    await kit.store.reconcile(new Set(['c1']));
    await kit.store.remove(other.id);
    assert.equal(count('layers'), 0);
    await kit.store.removeRootfs('c1');
    await kit.store.remove(scratch.id);
  },
);

test(
  'an image can be pulled although a record of it was written and reported as failed',
  { skip, timeout: 60_000 },
  async () => {
    await push('written');
    const image = await pull('written');
    const [row] = await kit.database.all('SELECT * FROM image_layer');
    await kit.store.remove(image.id);
    // The state that the failed write left: the store does not know about it.
    const columns = Object.keys(row ?? {});
    const sql = `INSERT INTO image_layer (${columns.join(', ')}) VALUES (${columns.map(() => '?').join(', ')})`;
    await kit.database.write([{ sql, params: Object.values(row ?? {}) }]);
    const { path } = await kit.store.mountRootfs('c1', await pull('written'));
    assert.equal(readFileSync(`${path}/bin/sh`, 'utf8'), 'shell');
    await kit.store.removeRootfs('c1');
  },
);

test(
  'an image volume does not count as removed when no descriptor is free',
  { skip, timeout: 60_000 },
  async () => {
    await push('volume');
    const image = await pull('volume');
    const tree = await kit.store.mountVolume('c1', 0, image);
    const descriptors = holdDescriptors();
    try {
      descriptors.fill();
      await assert.rejects(kit.store.removeRootfs('c1'), /EMFILE/);
    } finally {
      descriptors.release();
    }
    assert.equal(isMountpoint(tree), true);
    await kit.store.removeRootfs('c1');
    assert.deepEqual([isMountpoint(tree), count('volumes')], [false, 0]);
  },
);

test('a list of layers that cannot be read may contain any layer', { skip }, async () => {
  const log = createLogger({ level: 'silent' });
  const folder = `${storeFolders(kit.root).rootfs}/c1`;
  mkdirSync(folder);
  assert.deepEqual(await readLayerList(folder, log), []);
  writeFileSync(`${folder}/layers.json`, '{"layers":["one"');
  assert.deepEqual(await readLayerList(folder, log), []);
  writeFileSync(`${folder}/layers.json`, '{"layers":["one"]}');
  assert.deepEqual(await readLayerList(folder, log), ['one']);
  const descriptors = holdDescriptors();
  try {
    descriptors.fill();
    assert.equal(await readLayerList(folder, log), undefined);
  } finally {
    descriptors.release();
  }
  await kit.store.removeRootfs('c1');
});

test(
  'a container whose list of layers cannot be read keeps every layer',
  { skip, timeout: 60_000 },
  async () => {
    await push('unread');
    const image = await pull('unread');
    const { path } = await kit.store.mountRootfs('c1', image);
    // The list is a folder now, so that it cannot be read.
    rmSync(`${kit.root}/rootfs/c1/layers.json`);
    mkdirSync(`${kit.root}/rootfs/c1/layers.json`);
    kit = await kit.reopen();
    await kit.store.reconcile(new Set(['c1']));
    await kit.store.remove(image.id);
    assert.deepEqual([count('layers'), readFileSync(`${path}/bin/sh`, 'utf8')], [1, 'shell']);
    await kit.store.removeRootfs('c1');
    assert.equal(count('layers'), 0);
  },
);

test(
  'a container that was interrupted before its list of layers was written keeps every layer while its root is mounted',
  { skip, timeout: 60_000 },
  async () => {
    await push('cut-off');
    const image = await pull('cut-off');
    const { path } = await kit.store.mountRootfs('c1', image);
    rmSync(`${kit.root}/rootfs/c1/layers.json`);
    kit = await kit.reopen();
    await kit.store.remove(image.id);
    assert.deepEqual([count('layers'), readFileSync(`${path}/bin/sh`, 'utf8')], [1, 'shell']);
    await kit.store.removeRootfs('c1');
    assert.equal(count('layers'), 0);
  },
);

/** Makes removals of layer rows fail until the returned function is called. */
function failRemovals(): () => void {
  const other = new DatabaseSync(`${kit.folder}/state.db`, { timeout: 10_000 });
  other.exec("CREATE TRIGGER fails BEFORE DELETE ON image_layer BEGIN SELECT RAISE(ABORT, 'it fails'); END");
  return () => {
    other.exec('DROP TRIGGER fails');
    other.close();
  };
}

test(
  'layers that a failed removal of an image left are removed when the removal is requested again',
  { skip, timeout: 60_000 },
  async () => {
    await push('halfway');
    const image = await pull('halfway');
    const succeed = failRemovals();
    await assert.rejects(kit.store.remove(image.id), { code: 'STORAGE_CONSTRAINT' });
    assert.deepEqual([kit.store.list().length, count('layers')], [0, 1]);
    await assert.rejects(
      kit.store.remove(image.id),
      { code: 'STORAGE_CONSTRAINT' },
      'a removal that left layers fails',
    );
    succeed();
    await kit.store.remove(image.id);
    assert.deepEqual([count('layers'), count('blobs/sha256')], [0, 0]);
  },
);

test(
  'layers that a failed removal left are removed without a request',
  { skip, timeout: 60_000 },
  async () => {
    await push('forgotten');
    const image = await pull('forgotten');
    const succeed = failRemovals();
    await assert.rejects(kit.store.remove(image.id), { code: 'STORAGE_CONSTRAINT' });
    succeed();
    for (let waited = 0; count('layers') > 0 || count('blobs/sha256') > 0; waited += 20) {
      assert.ok(waited < 60_000, 'the layer of a removed image is not removed');
      await sleep(20);
    }
  },
);

test(
  'layers whose files could not be removed are removed without a request, and do not block the removal of others',
  { skip, timeout: 60_000 },
  async () => {
    const layers = await Promise.all(
      ['a', 'b', 'c'].map(async (name) => ({ tar: await tarOf([{ name, body: `busy ${name}` }]) })),
    );
    await pushImage(kit.repository('open/busy'), { layers, tag: '1' });
    const image = await pull('busy');
    const place = `${kit.root}/layers/${image.layers[0]?.slice(7) ?? ''}`;
    // A folder with a mount on it cannot be moved.
    await kit.kernel.bindMount(place, place);
    try {
      await assert.rejects(kit.store.remove(image.id), /EBUSY/);
      assert.deepEqual([count('layers'), count('blobs/sha256')], [1, 1]);
      await assert.rejects(kit.store.remove(image.id), /EBUSY/, 'a removal that left files fails');
    } finally {
      await kit.kernel.umount(place);
    }
    for (let waited = 0; count('layers') > 0 || count('blobs/sha256') > 0; waited += 20) {
      assert.ok(waited < 60_000, 'the files of a removed layer are not removed');
      await sleep(20);
    }
  },
);
