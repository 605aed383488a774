import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';
import { startKernelWorker } from '../../../base/kernel/index.ts';
import { createLogger } from '../../../base/log/index.ts';
import { asNobody } from '../../../test/fixtures/as-nobody.ts';
import { makeStoreFolders, storeFolders } from '../folders.ts';
import { chainIds } from '../chain-ids.ts';
import type { LayerPosition } from '../chain-ids.ts';
import type { LayerClaim } from '../claimed-layers.ts';
import { openLayerRoots } from '../layer-roots.ts';
import { createLayerStore } from '../layers.ts';
import { defaultLimits } from '../limits/limits.ts';
import { sha256 } from '../test-kit.ts';
import { createTrash } from '../trash.ts';
import { areMuchWork, createPending, mayFetch, pickFairly } from './pending-job.ts';
import type { LayerTask } from './protocol.ts';
import { rawTar } from '../unpack/tar.fixture.ts';
import type { RawEntry } from '../unpack/tar.fixture.ts';
import type { UnpackRequest, UnpackedLayer } from '../unpack/unpack-layer.ts';
import { createLayerPool } from './layer-pool.ts';
import type { LayerPool, LayerPoolOptions } from './layer-pool.ts';
import { createJobCell, createWorkClock, stopJob, unpackAllowance } from '../unpack/work-clock.ts';
import { codeIs, layerFolderOfEachTest, range } from '../unpack/unpack.fixture.ts';

let pools: LayerPool[] = [];
// Before the folder of its layers is removed.
afterEach(async () => {
  for (const pool of pools) await pool.close();
  pools = [];
});
const layers = layerFolderOfEachTest('unpack-pool');

function poolOf(options: LayerPoolOptions): LayerPool {
  const pool = createLayerPool(options);
  pools.push(pool);
  return pool;
}

const requestOf = (entries: readonly RawEntry[], lowest = false): UnpackRequest =>
  layers.requestOf(rawTar(entries), { lowest });

const small: readonly RawEntry[] = [{ name: 'file', body: 'content' }];
const folders = 10_000;
const layersBelow = 24;
/** Some seconds of look-ups in the layers below, without a pause. */
const slow: readonly RawEntry[] = range(folders, (index) => ({ name: `d${index}/f` }));
const slowBelow: readonly RawEntry[] = range(folders, (index) => ({ name: `d${index}`, type: '5' }));

/** Returns the roots of many layers below, all the same. */
async function manyLowers(pool: LayerPool): Promise<readonly string[]> {
  const below = requestOf(slowBelow, true);
  await pool.unpack(below, noLowers);
  return range(layersBelow, () => `${below.staging}/fs`);
}
const noLowers = (): Promise<readonly string[]> => Promise.resolve([]);

function isWhole(request: UnpackRequest, layer: UnpackedLayer): void {
  assert.equal(readFileSync(`${request.staging}/fs/file`, 'utf8'), 'content');
  assert.equal(
    layer.manifestSha256,
    sha256(readFileSync(`${request.staging}/files.ndjson`)).slice('sha256:'.length),
  );
}

test('a layer fails with the reason why the layers below are missing', async () => {
  const pool = poolOf({ size: 1 });
  const failure = Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' });
  await assert.rejects(
    pool.unpack(requestOf([{ name: 'folder-of-a-lower-layer/file' }]), () => Promise.reject(failure)),
    failure,
  );
});

test('a cancelled layer frees its Worker in the middle of its look-ups', async () => {
  const pool = poolOf({ size: 1 });
  const lowers = await manyLowers(pool);
  const settleTime = async (abort?: AbortController): Promise<number> => {
    let began = 0;
    const asked = (): Promise<readonly string[]> => {
      began = performance.now();
      // The message with the layers' roots is sent first.
      if (abort !== undefined) setTimeout(() => abort.abort(new Error('the caller has gone')), 20);
      return Promise.resolve(lowers);
    };
    const request = requestOf(slow);
    const unpacked = pool.unpack(request, asked, abort === undefined ? {} : { signal: abort.signal });
    if (abort === undefined) await unpacked;
    else {
      await assert.rejects(unpacked, codeIs('IMAGES_CANCELLED'));
      assert.equal(existsSync(`${request.staging}/files.ndjson`), false);
      // The same Worker takes the next layer.
      const next = requestOf(small, true);
      isWhole(next, await pool.unpack(next, noLowers));
    }
    return performance.now() - began;
  };
  const whole = await settleTime();
  const cut = await settleTime(new AbortController());
  assert.ok(cut < whole / 3, `cancelled, it took ${Math.round(cut)} ms; whole, ${Math.round(whole)} ms`);
});

test('the Worker of a layer that exceeds its deadline is ended; other layers restart, and only its own pull fails and leaves nothing', async () => {
  const kernel = await startKernelWorker();
  const store = storeFolders(layers.newPath());
  await makeStoreFolders(store);
  const trash = createTrash(store.trash, kernel, createLogger({ level: 'silent' }));
  await trash.empty();
  const pool = poolOf({ size: 1, allowance: () => 800 });
  const log = createLogger({ level: 'silent' });
  const roots = await openLayerRoots({
    folders: store,
    kernel,
    pool,
    recorded: () => undefined,
    way: { kind: 'none', why: 'not tried' },
    damaged: () => undefined,
    requireGuarded: () => undefined,
    log,
  });
  const layerStore = createLayerStore({
    folders: store,
    pool,
    trash,
    roots,
    form: 'folder',
    limits: defaultLimits,
    era: () => 0,
    recorded: () => undefined,
    isOwned: () => false,
  });
  const signal = new AbortController().signal;
  const unpack = (
    entries: readonly RawEntry[],
    position: LayerPosition,
    below: readonly LayerClaim[] = [],
  ): Promise<LayerClaim> => {
    const { blob } = requestOf(entries);
    return layerStore.unpack(
      position,
      { path: blob, digest: 'sha256:0', size: 1, from: '' },
      below.map((claim) => Promise.resolve(claim)),
      signal,
    );
  };
  // Another pool with enough time unpacks the layer below.
  const patient = createLayerPool({ size: 1 });
  const lowers = await manyLowers(patient);
  await patient.close();
  const lower: LayerClaim = {
    row: () => assert.fail('not recorded'),
    pendingMove: () => undefined,
    published: () => undefined,
    isTransient: () => false,
    begun: 0,
    requirePresent: () => undefined,
    release: () => Promise.resolve(),
    openRoot: () => Promise.resolve({ path: lowers[0] ?? '', close: () => Promise.resolve() }),
  };
  const [, above] = chainIds(['sha256:below', sha256(rawTar(slow))]);
  const [first] = chainIds([sha256(rawTar(small))]);
  assert.ok(above !== undefined && first !== undefined);
  const beside = Promise.withResolvers<readonly string[]>();
  const waiting = requestOf([{ name: 'd1/f' }, ...small]);
  const waits = pool.unpack(waiting, () => beside.promise);
  const overruns = unpack(
    slow,
    above,
    range(layersBelow, () => lower),
  );
  // Refused while the other job is asked: the delay is not the fault of this one.
  const whole = unpack(small, first);
  await assert.rejects(overruns, codeIs('IMAGES_UNPACK_OVERDUE'));
  beside.resolve([lowers[0] ?? '']);
  isWhole(waiting, await waits);
  const claim = await whole;
  const staged = readdirSync(store.staging);
  assert.equal(staged.length, 1, staged.join(' '));
  await claim.release();
  await trash.settled();
  assert.deepEqual(readdirSync(store.staging), []);
  await kernel.close();
});

test('a Worker that hangs in a call of the kernel is replaced', async () => {
  const pool = poolOf({ size: 1, allowance: () => 200, exitMs: 500 });
  const hangs = requestOf(small, true);
  rmSync(hangs.blob);
  // No process writes to it: opening it never returns.
  execFileSync('mkfifo', [hangs.blob]);
  await assert.rejects(pool.unpack(hangs, noLowers), codeIs('IMAGES_UNPACK_OVERDUE'));
  const next = requestOf(small, true);
  isWhole(next, await pool.unpack(next, noLowers));
  closeSync(openSync(hangs.blob, 'w'));
});

test('layers that wait for the layers below release their memory above a limit, and are unpacked again', async () => {
  const pool = poolOf({ size: 1, maxWaitingEntries: 3 });
  const below = requestOf([{ name: 'dir', type: '5' }], true);
  const ready = Promise.withResolvers<readonly string[]>();
  const asked = range(4, () => 0);
  const requests = asked.map(() => requestOf([{ name: 'dir/f' }, ...small]));
  const waiting = requests.map((request, index) =>
    pool.unpack(request, () => {
      asked[index] = (asked[index] ?? 0) + 1;
      return ready.promise;
    }),
  );
  const gone = new AbortController();
  const cancelled = pool.unpack(requestOf([{ name: 'dir/f' }, ...small]), () => ready.promise, {
    signal: gone.signal,
  });
  await pool.unpack(below, noLowers);
  gone.abort(new Error('the caller has gone'));
  await assert.rejects(cancelled);
  ready.resolve([`${below.staging}/fs`]);
  for (const [index, request] of requests.entries())
    isWhole(request, (await waiting[index]) ?? assert.fail());
  // One of them stays within the limit. The threads that read their blobs decide which.
  assert.deepEqual(asked.toSorted(), [1, 2, 2, 2]);
});

test('pulls take turns, however many layers they have', () => {
  const many = {};
  const one = {};
  const job = (id: number, group: object): ReturnType<typeof createPending> =>
    createPending({
      id,
      group,
      task: { kind: 'sync', fd: 0, root: '' },
      bytes: 0,
      lowers: noLowers,
      signal: undefined,
    });
  const queue = [...range(500, (id) => job(id, many)), job(1000, one)];
  const underWay = [job(2000, many)];
  assert.equal(pickFairly(queue, underWay)?.id, 1000);
  assert.equal(pickFairly(queue, [...underWay, job(1000, one)])?.id, 0);
  assert.equal(queue.length, 499);
});

test('a registry that sends nothing leaves turns to the fetches from others', () => {
  const fetch = (registry: string) =>
    ({ task: { kind: 'fetch', fetch: { reference: { registry, repository: 'a' } } } }) as never as {
      readonly task: LayerTask;
    };
  const underWay: ReturnType<typeof fetch>[] = [];
  const counts = ['slow.test', 'slower.test', 'good.test'].map((registry) => {
    const before = underWay.length;
    while (mayFetch(fetch(registry).task, underWay, 32)) underWay.push(fetch(registry));
    return underWay.length - before;
  });
  assert.deepEqual(counts, [11, 8, 5]);
});

test('small layers share one Worker, and large ones get another', async (t) => {
  let started = 0;
  const count = (): void => void (started += 1);
  process.on('worker', count);
  t.after(() => process.off('worker', count));
  const pool = poolOf({ size: 2 });
  for (const [bytes, expected] of [
    [1_000, 1],
    [16 * 1024 * 1024, 2],
  ] as const) {
    const requests = range(6, () => requestOf(small));
    const unpacked = await Promise.all(requests.map((request) => pool.unpack(request, noLowers, { bytes })));
    for (const [index, request] of requests.entries()) isWhole(request, unpacked[index] ?? assert.fail());
    assert.equal(started, expected, `layers of ${bytes} bytes`);
  }
});

test('the other Worker ends when there was little work for a while', { timeout: 20_000 }, async (t) => {
  const ends: Promise<unknown>[] = [];
  const keep = (worker: Worker): void => void ends.push(once(worker, 'exit'));
  process.on('worker', keep);
  t.after(() => process.off('worker', keep));
  const pool = poolOf({ size: 2 });
  const large = range(4, () => requestOf(small));
  await Promise.all(large.map((request) => pool.unpack(request, noLowers, { bytes: 16 * 1024 * 1024 })));
  assert.equal(ends.length, 2);
  const first = Promise.race([ends[0], pause(4_000, 'it runs')]);
  const little = setInterval(() => void pool.unpack(requestOf(small), noLowers, { bytes: 1 }), 500);
  t.after(() => clearInterval(little));
  await ends[1];
  clearInterval(little);
  assert.equal(await first, 'it runs');
});

test('a job that takes long, or waits for the disk, is worth another Worker', () => {
  const job = (kind: 'sync' | 'publish', bytes = 0, isWaiting = false) => ({
    task:
      kind === 'sync'
        ? { kind, fd: 0, root: '' }
        : { kind, publication: { root: '', moves: [], folders: [] } },
    ...{ bytes, isWaiting, cell: createJobCell() },
  });
  const mebibyte = 1024 * 1024;
  assert.equal(areMuchWork([job('publish'), job('publish', 15 * mebibyte)]), false);
  assert.equal(areMuchWork([job('publish', 8 * mebibyte), job('publish', 8 * mebibyte)]), true);
  assert.equal(areMuchWork([job('publish', 8 * mebibyte), job('publish', 8 * mebibyte, true)]), false);
  assert.equal(areMuchWork([job('sync')]), true);
  const long = job('publish');
  const clock = createWorkClock(long.cell, 'layer');
  clock.turn(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_100));
  assert.equal(areMuchWork([long]), true);
});

test('the time that a layer may take grows with its entries and bytes, and only its own turns count', () => {
  assert.equal(unpackAllowance({ entries: 0, bytes: 0 }), 120_000);
  assert.equal(unpackAllowance({ entries: 24_000, bytes: 4 * 1024 * 1024 }), 120_000 + 48_000 + 1024);
  const cell = createJobCell();
  const clock = createWorkClock(cell, 'layer', () => -1);
  assert.throws(
    () => clock.turn(() => clock.goOn({ entries: 1, bytes: 1 })),
    codeIs('IMAGES_UNPACK_OVERDUE'),
  );
  const patient = createWorkClock(cell, 'layer');
  patient.turn(() => patient.goOn({ entries: 1, bytes: 1 }));
  stopJob(cell);
  assert.throws(() => patient.turn(() => patient.goOn({ entries: 1, bytes: 1 })), codeIs('IMAGES_CANCELLED'));
});

function withoutThreads(freeAfterMs: number, startWaitMs: number): { outcomes: string[]; ms: number } {
  const [program, ...words] = asNobody;
  const fixture = join(import.meta.dirname, 'no-threads.fixture.ts');
  const args = [...words, process.execPath, fixture, String(freeAfterMs), String(startWaitMs)];
  const { stdout, stderr, status } = spawnSync(program, args, { encoding: 'utf8', timeout: 60_000 });
  assert.deepEqual([status, stderr], [0, '']);
  return JSON.parse(stdout) as { outcomes: string[]; ms: number };
}

test('jobs wait for a thread while the kernel has none', () => {
  const { outcomes, ms } = withoutThreads(1_500, 50_000);
  assert.deepEqual(
    outcomes,
    range(5, () => 'done'),
  );
  assert.ok(ms > 1_000, `they took ${Math.round(ms)} ms`);
});

test('jobs that get no thread in time fail with the reason, and may be repeated', () => {
  const { outcomes } = withoutThreads(50_000, 800);
  for (const outcome of outcomes)
    assert.match(outcome, /no thread can be started.*EAGAIN.*\[IMAGES_NO_THREAD\]/u);
});

test('the end of the pool fails the jobs that wait for a Worker', async () => {
  const pool = createLayerPool({ size: 1 });
  const missing = { ...requestOf([]), blob: `${layers.newPath()}.missing` };
  const lowers = (): Promise<readonly string[]> => Promise.resolve([]);
  const jobs = Array.from({ length: 100 }, () =>
    pool.unpack({ ...missing, staging: layers.newPath() }, lowers),
  );
  const outcomes = Promise.allSettled(jobs);
  await pool.close();
  const late = new Promise((resolve) => setTimeout(resolve, 5_000, 'they wait'));
  assert.notEqual(await Promise.race([outcomes, late]), 'they wait');
});
