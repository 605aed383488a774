import assert from 'node:assert/strict';
import { readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import { test } from 'node:test';
import type { TestRegistry } from '../../test/fixtures/registry.ts';
import { openStoreForTests, skip } from './store-for-tests.fixture.ts';
import { openKit, pushImage, tarOf } from './test-kit.ts';
import type { Kit } from './test-kit.ts';
import type { ImageRecord } from './types.ts';

let registry: TestRegistry;
let kit: Kit;

openStoreForTests({
  opened: (opened, its) => {
    kit = opened;
    registry = its;
  },
  current: () => kit,
  empty: ['ingest', 'staging', 'blobs/sha256', 'layers'],
});

interface Pulled {
  readonly image: ImageRecord;
  /** Name of its layer. */
  readonly layer: string;
  readonly file: string;
  readonly blob: string;
}

async function pulled(name: string, tag = '1'): Promise<Pulled> {
  const body = `the content of ${name}`.repeat(100);
  await pushImage(kit.repository(`open/${name}`), {
    layers: [{ tar: await tarOf([{ name: 'id', body }]) }],
    tag,
    label: `${name} ${tag}`,
  });
  const { image } = await kit.store.pull({ reference: kit.reference(`open/${name}`, tag), namespace: '' });
  const [stored] = kit.store.upkeep.layers(image.id);
  assert.ok(stored !== undefined);
  const [hex = ''] = readdirSync(`${kit.root}/blobs/sha256`);
  return {
    image,
    layer: stored.layer,
    file: `${kit.root}/layers/${stored.layer}/fs/id`,
    blob: `${kit.root}/blobs/sha256/${hex}`,
  };
}

function flip(file: string): void {
  const bytes = readFileSync(file);
  const at = bytes.length >> 1;
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  writeFileSync(file, bytes);
}

test(
  'a check reports the file with a flipped byte, and the layer is restored before its next use',
  { skip },
  async () => {
    const { image, layer, file } = await pulled('checked');
    const { upkeep } = kit.store;
    const whole = readFileSync(file, 'utf8');
    assert.deepEqual(await upkeep.check(layer), { damaged: [] });
    flip(file);
    assert.deepEqual(await upkeep.check(layer), { damaged: ['id'] });
    const { path } = await kit.store.mountRootfs('c1', image);
    assert.equal(readFileSync(`${path}/id`, 'utf8'), whole);
    await kit.store.removeRootfs('c1');
    assert.deepEqual(await upkeep.check(layer), { damaged: [] });
  },
);

test('a layer without its list of files counts as damaged', { skip }, async () => {
  const { layer } = await pulled('listless');
  rmSync(`${kit.root}/layers/${layer}/files.ndjson`);
  const { damaged } = await kit.store.upkeep.check(layer);
  assert.match(damaged.join(), /files\.ndjson/u);
  assert.deepEqual(await kit.store.upkeep.repair(layer), { from: 'blob' });
});

test(
  'a repair restores a damaged layer from its blob, and does not change an undamaged layer',
  { skip },
  async () => {
    const { layer, file } = await pulled('restored');
    const whole = readFileSync(file);
    assert.deepEqual(await kit.store.upkeep.repair(layer), { from: 'nothing was damaged' });
    flip(file);
    assert.deepEqual(await kit.store.upkeep.repair(layer), { from: 'blob' });
    assert.deepEqual(readFileSync(file), whole);
  },
);

test('a damaged blob is fetched again from the registry', { skip }, async () => {
  const { layer, file, blob } = await pulled('fetched');
  const whole = [readFileSync(file), readFileSync(blob)];
  for (const damage of [() => flip(blob), () => rmSync(blob)]) {
    flip(file);
    damage();
    assert.deepEqual(await kit.store.upkeep.repair(layer), { from: 'registry' });
    assert.deepEqual([readFileSync(file), readFileSync(blob)], whole);
  }
  assert.equal(kit.store.list().length, 1);
});

test('a layer that no registry serves is reported, and its image is kept', { skip }, async () => {
  const { layer, file, blob } = await pulled('lost');
  const hex = blob.slice(-64);
  const served = `${registry.folder}/docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}/data`;
  // The registry serves other bytes under the digest.
  flip(served);
  flip(file);
  flip(blob);
  await assert.rejects(kit.store.upkeep.repair(layer), {
    code: 'IMAGES_NOT_REPAIRED',
    message: /its blob is damaged, and could not be fetched again/u,
  });
  assert.equal(kit.store.list().length, 1);
  assert.deepEqual(readdirSync(`${kit.root}/ingest`), []);
  flip(served);
  assert.deepEqual(await kit.store.upkeep.repair(layer), { from: 'registry' });
});

test('pulls continue during a check', { skip }, async () => {
  const { layer } = await pulled('busy');
  const checks = Array.from({ length: 5 }, () => kit.store.upkeep.check(layer));
  await pulled('meanwhile');
  assert.deepEqual(
    (await Promise.all(checks)).map(({ damaged }) => damaged),
    checks.map(() => []),
  );
});

test('a check runs in a thread of low priority, and the threads of pulls do not', { skip }, async () => {
  const { layer } = await pulled('nice');
  await kit.store.upkeep.check(layer);
  // Field 19 of proc_pid_stat(5).
  const nice = readdirSync('/proc/self/task').map((thread) => {
    const stat = readFileSync(`/proc/self/task/${thread}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[16]);
  });
  assert.deepEqual(
    [nice.filter((value) => value === 19).length, nice.some((value) => value === getPriority())],
    [1, true],
  );
});

test('an image that is removed during a check leaves no files', { skip }, async () => {
  const { image, layer } = await pulled('removed');
  const check = kit.store.upkeep.check(layer);
  await kit.store.remove(image.id);
  await check;
  await assert.rejects(kit.store.upkeep.check(layer), { code: 'IMAGES_LAYER_UNKNOWN' });
});

test('a store that closes does not wait for a check', { skip }, async () => {
  const other = await openKit(registry.host);
  try {
    await pushImage(other.repository('open/closing'), {
      layers: [{ tar: await tarOf([{ name: 'id', body: 'x' }]) }],
      tag: '1',
    });
    await other.store.pull({ reference: other.reference('open/closing'), namespace: '' });
    const { upkeep } = other.store;
    const [{ layer } = { layer: '' }] = upkeep.layers();
    const ended = assert.rejects(upkeep.check(layer), { code: 'IMAGES_STORE_CLOSED' });
    await upkeep.close();
    await ended;
    await assert.rejects(upkeep.repair(layer), { code: 'IMAGES_STORE_CLOSED' });
  } finally {
    await other.close();
  }
});

test('an unknown layer and an unknown image are refused', { skip }, async () => {
  for (const layer of ['x', '../layers', '0'.repeat(64)]) {
    await assert.rejects(kit.store.upkeep.check(layer), { code: 'IMAGES_LAYER_UNKNOWN' });
    await assert.rejects(kit.store.upkeep.repair(layer), { code: 'IMAGES_LAYER_UNKNOWN' });
  }
  assert.throws(() => kit.store.upkeep.layers('none'), { code: 'IMAGES_NOT_FOUND' });
});

test(
  'an image without a name is unused; an image with a name is listed only if all images are requested',
  { skip },
  async () => {
    const { upkeep } = kit.store;
    const first = await pulled('moved');
    assert.deepEqual(upkeep.unused(new Set(), false), []);
    await pushImage(kit.repository('open/moved'), {
      layers: [{ tar: await tarOf([{ name: 'id', body: 'newer' }]) }],
      tag: '1',
    });
    const { image } = await kit.store.pull({ reference: kit.reference('open/moved'), namespace: '' });
    const ids = (all: boolean, ...used: string[]): readonly string[] =>
      upkeep.unused(new Set(used), all).map(({ id }) => id);
    assert.deepEqual(ids(false), [first.image.id]);
    assert.deepEqual(ids(false, first.image.id), []);
    assert.deepEqual(ids(true), [first.image.id, image.id]);
    assert.deepEqual(ids(true, image.id), [first.image.id]);
    // A client asked for this digest.
    await kit.store.pull({ reference: first.image.repoDigests[0] ?? '', namespace: '' });
    assert.deepEqual(ids(false), []);
  },
);
