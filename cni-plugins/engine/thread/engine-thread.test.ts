import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { createLogger } from '../../../base/log/index.ts';
import { loadEngineThread, loadEngineThreadEarly } from './engine-thread.ts';
import type { EngineThreadListener } from './engine-thread.ts';

const settings = { databasePath: '/nonexistent/network.db', policyDir: '', debug: false };
const log = createLogger({ level: 'silent' });

function listener(): EngineThreadListener & { readonly lost: Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { lost: promise, ended: resolve, handedOver: () => undefined };
}

test('a thread that was loaded without settings answers calls that were sent before it has read them', async () => {
  const loaded = loadEngineThread();
  const thread = loaded.begin(settings, log, listener());
  assert.throws(() => loaded.begin(settings, log, listener()), /has its settings already/);
  assert.deepEqual(
    await Promise.all([thread.call({ do: 'stop-listening' }), thread.call({ do: 'stop-listening' })]),
    [{}, {}],
  );
  await thread.stop();
});

test('a thread that ended before it got its settings is lost, and its calls are refused', async () => {
  const loaded = loadEngineThread();
  await loaded.discard();
  const follows = listener();
  const thread = loaded.begin(settings, log, follows);
  await assert.rejects(thread.call({ do: 'stop-listening' }), { code: 'NETWORK_ENGINE_LOST' });
  await follows.lost;
});

test('an engine whose first start failed gets a new thread instead of the thread that was loaded early', async () => {
  const threads = loadEngineThreadEarly();
  for (let attempt = 0; attempt < 2; attempt += 1) {
    const thread = threads.load().begin(settings, log, listener());
    assert.deepEqual(await thread.call({ do: 'stop-listening' }), {});
    await thread.stop();
  }
  await threads.discard();
});

test('a thread that never gets its settings does not keep the process alive', () => {
  const file = join(import.meta.dirname, 'engine-thread.ts');
  const program = `const { loadEngineThread } = await import(${JSON.stringify(file)}); loadEngineThread();`;
  const run = spawnSync(process.execPath, ['--input-type=module', '-e', program], { timeout: 60_000 });
  assert.deepEqual([run.status, run.signal], [0, null], run.stderr.toString());
});
