import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Kernel } from '../../base/kernel/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { openNamespacePool } from './namespace-pool.ts';

const dir = mkdtempSync(join(tmpdir(), 'portcullis-pool-'));
after(() => rmSync(dir, { recursive: true, force: true }));

test('a set that a crashed Worker had begun to pin is unpinned', async () => {
  const begun: string[] = [];
  const kernel = {
    pinNamespaces: (input: { readonly dir: string }) => {
      begun.push(input.dir);
      mkdirSync(input.dir);
      writeFileSync(join(input.dir, 'net'), '');
      return Promise.reject(new Error('the Worker has ended'));
    },
    unpinNamespaces: (set: string) => Promise.resolve(rmSync(set, { recursive: true })),
  } as unknown as Kernel;
  const startProgram = () => Promise.reject(new Error('unused'));
  const pool = await openNamespacePool({
    dir,
    size: 0,
    kernel,
    startProgram,
    log: createLogger({ level: 'silent' }),
  });
  await assert.rejects(pool.claim({ hostname: 'pod', sysctls: {} }), /the Worker has ended/);
  assert.deepEqual([begun.length, begun.some((set) => existsSync(set))], [1, false]);
  await pool.close();
});

test('a set that can neither be configured nor unpinned is unpinned later', async () => {
  const pinned = new Set<string>();
  let lost = false;
  const act = (body: () => void) => (): Promise<void> =>
    lost ? Promise.reject(new Error('no thread can be started')) : Promise.resolve(body());
  const kernel = {
    pinNamespaces: ({ dir: set }: { readonly dir: string }) => act(() => void pinned.add(set))(),
    configureNamespaces: act(() => undefined),
    unpinNamespaces: (set: string) => act(() => void pinned.delete(set))(),
  } as unknown as Kernel;
  const startProgram = () => Promise.reject(new Error('unused'));
  const pool = await openNamespacePool({
    ...{ dir, size: 1, kernel, startProgram },
    log: createLogger({ level: 'silent' }),
  });
  await pool.reconcile(new Set());
  while (pool.size < 1) await new Promise((resolve) => setImmediate(resolve));
  lost = true;
  await assert.rejects(pool.claim({ hostname: 'pod', sysctls: {} }), /no thread can be started/);
  assert.equal(pinned.size, 1);
  lost = false;
  const claimed = await pool.claim({ hostname: 'pod', sysctls: {} });
  await pool.close();
  assert.deepEqual([...pinned], [claimed]);
});

test('sets that a crashed Worker did not unpin at the end are given to the next Worker', async () => {
  const pinned = new Set<string>();
  let failures = 0;
  const kernel = {
    pinNamespaces: ({ dir: set }: { readonly dir: string }) => Promise.resolve(void pinned.add(set)),
    unpinNamespaces: (set: string) => {
      failures += 1;
      return failures <= 2
        ? Promise.reject(new Error('the Worker has ended'))
        : Promise.resolve(void pinned.delete(set));
    },
  } as unknown as Kernel;
  const startProgram = () => Promise.reject(new Error('unused'));
  const pool = await openNamespacePool({
    ...{ dir, size: 3, kernel, startProgram },
    log: createLogger({ level: 'silent' }),
  });
  await pool.reconcile(new Set());
  while (pool.size < 3) await new Promise((resolve) => setImmediate(resolve));
  await pool.close();
  assert.deepEqual([...pinned], []);
});

test('a set without a record that a crashed Worker did not unpin is unpinned later', async () => {
  const pinned = new Set<string>();
  let failures = 0;
  const kernel = {
    unpinNamespaces: (set: string) => {
      failures += 1;
      return failures === 1
        ? Promise.reject(new Error('the Worker has ended'))
        : Promise.resolve(void pinned.delete(set));
    },
  } as unknown as Kernel;
  const startProgram = () => Promise.reject(new Error('unused'));
  const open = () =>
    openNamespacePool({ ...{ dir, size: 0, kernel, startProgram }, log: createLogger({ level: 'silent' }) });
  const [closed, running] = [await open(), await open()];
  pinned.add('probe');
  await closed.discard('probe');
  assert.deepEqual([...pinned], ['probe']);
  await closed.close();
  assert.deepEqual([...pinned], []);
  // Also without an end of the daemon.
  [failures] = [0, pinned.add('probe')];
  await running.discard('probe');
  const end = performance.now() + 20_000;
  while (pinned.size > 0 && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual([...pinned], []);
  await running.close();
});

test('a pool that could not be filled is filled later, even without another pod', async () => {
  const pinned = new Set<string>();
  let tries = 0;
  const kernel = {
    pinNamespaces: ({ dir: set }: { readonly dir: string }) => {
      tries += 1;
      if (tries === 1) return Promise.reject(new Error('not enough memory'));
      return Promise.resolve(void pinned.add(set));
    },
    unpinNamespaces: (set: string) => Promise.resolve(void pinned.delete(set)),
  } as unknown as Kernel;
  const startProgram = () => Promise.reject(new Error('unused'));
  const pool = await openNamespacePool({
    ...{ dir, size: 1, kernel, startProgram },
    log: createLogger({ level: 'silent' }),
  });
  await pool.reconcile(new Set());
  const end = performance.now() + 20_000;
  while (pool.size < 1 && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual([pool.size, pinned.size, tries], [1, 1, 2]);
  await pool.close();
  assert.equal(pinned.size, 0);
});
