import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { startKernelWorker } from '../../base/kernel/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { createBlobStore } from './blobs.ts';
import type { BlobClaim, BlobStore } from './blobs.ts';
import { chainIds } from './chain-ids.ts';
import type { LayerPosition } from './chain-ids.ts';
import type { LayerClaim } from './claimed-layers.ts';
import { makeStoreFolders, storeFolders } from './folders.ts';
import type { StoreFolders } from './folders.ts';
import { createLayerPlaces } from './layer-folders.ts';
import { openLayerRoots } from './layer-roots.ts';
import { createLayerStore } from './layers.ts';
import type { LayerStore } from './layers.ts';
import { defaultLimits } from './limits/limits.ts';
import { publish } from './publish.ts';
import type { PublishDeps } from './publish.ts';
import { createSerialQueue } from '../../base/queues/index.ts';
import { openStoreSync } from './store-sync.ts';
import type { StoreSync } from './store-sync.ts';
import { sha256, tarOf } from './test-kit.ts';
import { createTrash } from './trash.ts';
import type { Trash } from './trash.ts';
import { createLayerPool } from './layer-workers/layer-pool.ts';
import type { LayerPool } from './layer-workers/layer-pool.ts';

let folders: StoreFolders;
let kernel: Kernel;
let pool: LayerPool;
let trash: Trash;
let layers: LayerStore;
let blobs: BlobStore;
let sync: StoreSync;
let deps: PublishDeps;
/** Called before files are moved to the trash. */
let beforeDiscard: () => Promise<void>;

beforeEach(async () => {
  folders = storeFolders(mkdtempSync('/var/tmp/portcullis-publish-'));
  await makeStoreFolders(folders);
  const log = createLogger({ level: 'silent' });
  kernel = await startKernelWorker();
  pool = createLayerPool({ size: 1 });
  sync = await openStoreSync(folders.root, pool);
  const quick = createTrash(folders.trash, kernel, log);
  beforeDiscard = () => Promise.resolve();
  trash = { ...quick, discard: (path) => beforeDiscard().then(() => quick.discard(path)) };
  const roots = await openLayerRoots({
    folders,
    kernel,
    pool,
    recorded: () => undefined,
    way: { kind: 'none', why: 'not tried' },
    damaged: () => undefined,
    requireGuarded: () => undefined,
    log,
  });
  layers = createLayerStore({
    folders,
    pool,
    trash,
    roots,
    form: 'folder',
    limits: defaultLimits,
    era: sync.era,
    recorded: () => undefined,
    isOwned: () => false,
  });
  blobs = createBlobStore(folders, () => false, sync.era);
  const places = createLayerPlaces({ folders, trash: quick, uses: () => false, roots });
  deps = { folders, pool, layers, places, sync, publishing: createSerialQueue(), log };
});
afterEach(async () => {
  await pool.close();
  await sync.close();
  await trash.settled();
  await kernel.close();
  rmSync(folders.root, { recursive: true });
});

const signal = new AbortController().signal;

/** Creates a layer with one file, and its blob. */
async function layerOf(
  body: string,
): Promise<{ readonly tar: Buffer; readonly blob: Buffer; readonly diffId: string }> {
  const tar = await tarOf([{ name: 'file', body }]);
  return { tar, blob: gzipSync(tar), diffId: sha256(tar) };
}

/** Claims the blobs and layers of an image, as a pull does, lowest first. */
async function claimAll(
  bodies: readonly string[],
): Promise<{ readonly blobs: readonly BlobClaim[]; readonly layers: readonly LayerClaim[] }> {
  const sources = await Promise.all(bodies.map(layerOf));
  const claims: { readonly blobs: BlobClaim[]; readonly layers: LayerClaim[] } = { blobs: [], layers: [] };
  for (const [index, position] of chainIds(sources.map(({ diffId }) => diffId)).entries()) {
    const blob = sources[index]?.blob ?? assert.fail();
    const descriptor = { digest: sha256(blob), size: blob.length, mediaType: '' };
    const held = await blobs.claim(
      descriptor,
      { from: 'a registry', sources: [(path) => Promise.resolve(writeFileSync(path, blob))] },
      signal,
    );
    claims.blobs.push(held);
    claims.layers.push(await unpack(position, held));
  }
  return claims;
}

const unpack = (position: LayerPosition, blob: BlobClaim): Promise<LayerClaim> =>
  layers.unpack(position, { path: blob.path, digest: blob.digest, size: blob.size, from: '' }, [], signal);

const all = (claims: Awaited<ReturnType<typeof claimAll>>): readonly (BlobClaim | LayerClaim)[] => [
  ...claims.blobs,
  ...claims.layers,
];
const release = async (claims: Awaited<ReturnType<typeof claimAll>>): Promise<void> => {
  for (const claim of all(claims)) await claim.release();
};
const left = (): string[] =>
  [folders.ingest, folders.staging, folders.blobs, folders.layers].flatMap((folder) =>
    readdirSync(folder).map((name) => `${folder}/${name}`),
  );
const bodyAt = (claim: LayerClaim): string =>
  readFileSync(`${folders.layers}/${claim.row().folder}/fs/file`, 'utf8');

/** Removes the source of the last layer's move: the moves before it succeed. */
function breakLastMove(claims: Awaited<ReturnType<typeof claimAll>>): void {
  rmSync(claims.layers.at(-1)?.pendingMove()?.from ?? assert.fail(), { recursive: true });
}

test('a publication that fails halfway leaves nothing in place, and the next one succeeds', async () => {
  const first = await claimAll(['one', 'two']);
  breakLastMove(first);
  await assert.rejects(publish(deps, all(first)), { code: 'IMAGES_STORE_FAILED' });
  assert.deepEqual([readdirSync(folders.layers), readdirSync(folders.blobs)], [[], []]);
  await release(first);
  assert.deepEqual(left(), []);
  const second = await claimAll(['one', 'two']);
  await publish(deps, all(second));
  assert.deepEqual(second.layers.map(bodyAt), ['one', 'two']);
  assert.equal(readdirSync(folders.blobs).length, 2);
  await release(second);
  assert.deepEqual(left(), []);
});

test('a pull that shares a layer with a publication that failed halfway publishes it', async () => {
  const failing = await claimAll(['shared', 'two']);
  const sharing = await claimAll(['shared', 'three']);
  breakLastMove(failing);
  await assert.rejects(publish(deps, all(failing)), { code: 'IMAGES_STORE_FAILED' });
  await release(failing);
  await publish(deps, all(sharing));
  assert.deepEqual(sharing.layers.map(bodyAt), ['shared', 'three']);
  await release(sharing);
  assert.deepEqual(left(), []);
});

test('only layers with holes are published without waiting for the disk', async () => {
  let flushes = 0;
  const counting = { ...deps, sync: { ...sync, flush: () => ((flushes += 1), sync.flush()) } };
  const claims = await claimAll(['one', 'two']);
  const [first = assert.fail(), second = assert.fail()] = claims.layers;
  const withHoles = (claim: LayerClaim): LayerClaim => ({ ...claim, isTransient: () => true });
  await publish(counting, [withHoles(first)]);
  assert.deepEqual([flushes, bodyAt(first)], [0, 'one']);
  await publish(counting, [withHoles(first), second, ...claims.blobs]);
  assert.deepEqual([flushes, bodyAt(second)], [1, 'two']);
  await release(claims);
});

test('a folder without a record is replaced', async () => {
  const claims = await claimAll(['one']);
  const { folder } = claims.layers[0]?.row() ?? assert.fail();
  mkdirSync(`${folders.layers}/${folder}/fs`, { recursive: true });
  writeFileSync(`${folders.layers}/${folder}/fs/old`, '');
  await publish(deps, all(claims));
  assert.deepEqual(readdirSync(`${folders.layers}/${folder}/fs`), ['file']);
  await release(claims);
});

test('a layer that two pulls unpacked above different layers is unpacked again after both have released it', async () => {
  const first = await claimAll(['one', 'shared']);
  const second = await claimAll(['two', 'shared']);
  await publish(deps, all(first));
  await publish(deps, all(second));
  await release(first);
  // The second pull has the last claim on the content that the first one published.
  await release(second);
  assert.deepEqual(left(), []);
  const third = await claimAll(['one', 'shared']);
  await publish(deps, all(third));
  assert.deepEqual(third.layers.map(bodyAt), ['one', 'shared']);
  await release(third);
});

test('a layer that is being removed is published again only after its removal', async () => {
  const first = await claimAll(['one']);
  await publish(deps, all(first));
  const slow = Promise.withResolvers<void>();
  beforeDiscard = () => slow.promise;
  const releasing = Promise.all(first.layers.map((claim) => claim.release()));
  const second = await claimAll(['one']);
  const publishing = publish(deps, all(second));
  // Long enough for a publication that does not wait.
  await Promise.race([publishing, pause(200)]);
  slow.resolve();
  await Promise.all([releasing, publishing]);
  assert.deepEqual(second.layers.map(bodyAt), ['one']);
  await release(first);
  await release(second);
  assert.deepEqual(left(), []);
});

test('an image that has one layer twice is published and leaves no staged files', async () => {
  const claims = await claimAll(['same', 'same', 'other', 'same']);
  await publish(deps, all(claims));
  assert.deepEqual(claims.layers.map(bodyAt), ['same', 'same', 'other', 'same']);
  await release(claims);
  assert.deepEqual(left(), []);
});
