import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { startKernelWorker } from '../../../base/kernel/index.ts';
import { programStarter, startReactor } from '../../../base/reactor/index.ts';
import { nextConfig } from '../../monitor/prepared-monitor.ts';
import type { RuntimeHandler } from '../../oci/runtime-handler.ts';
import { processesWithArgument } from '../../processes/processes.ts';
import { createMonitorPool } from './monitor-pool.ts';
import type { MonitorNeeds, MonitorPoolDeps } from './monitor-pool.ts';

/** A pool with the real conmon. Its runtime reads its configuration, as crun does, and refuses it. */
async function poolIn(t: TestContext, more: Partial<MonitorPoolDeps> = {}) {
  const [reactor, kernel] = [await startReactor(), await startKernelWorker()];
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-pool-'));
  const inside = (name: string): string => join(folder, name);
  for (const name of ['exits', 'attach', 'containers', 'logs']) mkdirSync(inside(name));
  const program = inside('runtime');
  writeFileSync(program, '#!/bin/sh\ncat config.json >&2\nexit 1\n', { mode: 0o755 });
  const handler = { kind: 'crun', program, path: program, globalArgs: [] as readonly string[] };
  const needs: MonitorNeeds = {
    handler: handler as unknown as RuntimeHandler,
    systemdCgroup: false,
    logsIn: '/',
  };
  const pool = createMonitorPool({
    startProgram: programStarter(reactor, kernel),
    conmon: '/usr/bin/conmon',
    folders: { exits: inside('exits'), attach: inside('attach') },
    logs: inside('logs'),
    bundle: (id) => join(inside('containers'), id),
    isIdle: () => true,
    unusedMs: 60_000,
    ...more,
  });
  t.after(async () => {
    await pool.close();
    await Promise.all([reactor.close(), kernel.close()]);
    rmSync(folder, { recursive: true });
  });
  const left = (): string[] =>
    ['exits', 'attach', 'containers', 'logs'].flatMap((name) => readdirSync(inside(name)));
  return { pool, needs, handler, left, bundle: (id: string) => join(inside('containers'), id) };
}

describe('the pool of prepared monitors', { timeout: 60_000 }, () => {
  it('gives the configuration to a runtime that has waited for it, and its answer to the caller', async (t) => {
    const { pool, needs, bundle } = await poolIn(t);
    pool.fill(needs);
    const monitor = pool.claim(needs);
    assert.ok(monitor);
    const started = await monitor.started;
    assert.equal(started.isAlive(), true);
    const text = `{"large":"${'x'.repeat(1_000)}"}`;
    writeFileSync(join(bundle(monitor.id), nextConfig), text);
    await assert.rejects(started.create(), (thrown: Error) => thrown.message.includes(text));
    assert.equal(readFileSync(join(bundle(monitor.id), 'config.json'), 'utf8'), text);
  });

  it('has one monitor at a time, and gives it to one container', async (t) => {
    const { pool, needs, bundle } = await poolIn(t);
    pool.fill(needs);
    pool.fill(needs);
    const first = pool.claim(needs);
    assert.equal(pool.claim(needs), undefined);
    assert.ok(first);
    await first.started;
    pool.fill(needs);
    assert.notEqual(pool.claim(needs)?.id, first.id);
    await first.discard();
    await first.discard();
    assert.deepEqual(processesWithArgument(first.id), []);
    assert.deepEqual(readdirSync(bundle(first.id)), []);
  });

  for (const [why, change] of [
    ['the processors are busy', { isIdle: () => false }],
    ['the runtime is not crun', { kind: 'runc' }],
  ] as const)
    it(`prepares nothing if ${why}`, async (t) => {
      const { pool, needs, handler, left } = await poolIn(t, 'isIdle' in change ? change : {});
      if ('kind' in change) Object.assign(handler, change);
      pool.fill(needs);
      assert.equal(pool.claim(needs), undefined);
      assert.deepEqual(left(), []);
    });

  it('ends a monitor whose runtime has been upgraded, and gives none to pods with other needs', async (t) => {
    const { pool, needs, handler, left } = await poolIn(t);
    pool.fill(needs);
    for (const other of [{ systemdCgroup: true }, { logsIn: '/srv' }])
      assert.equal(pool.claim({ ...needs, ...other }), undefined);
    handler.program = `${handler.program}-2`;
    assert.equal(pool.claim(needs), undefined);
    await pool.close();
    assert.deepEqual(left(), []);
  });

  it('is prepared for the pod that became ready last, whatever the pods before it need', async (t) => {
    const { pool, needs, left } = await poolIn(t);
    const silent = { ...needs, logsIn: undefined };
    pool.fill(silent);
    pool.fill(needs);
    assert.equal(pool.claim(silent), undefined);
    const claimed = pool.claim(needs);
    assert.ok(claimed);
    await claimed.drop();
    await pool.close();
    assert.deepEqual(left(), []);
  });

  it('leaves nothing of a monitor that nobody needed in time', async (t) => {
    const { pool, needs, left } = await poolIn(t, { unusedMs: 100 });
    pool.fill(needs);
    while (left().length === 0) await pause(5);
    while (left().length > 0) await pause(20);
    assert.equal(pool.claim(needs), undefined);
  });

  it('leaves nothing of a monitor that cannot be started', async (t) => {
    const { pool, needs, left } = await poolIn(t, { conmon: '/usr/bin/false' });
    pool.fill(needs);
    const claimed = pool.claim(needs);
    await assert.rejects(claimed?.started ?? Promise.resolve(), { code: 'RUNTIME_MONITOR_FAILED' });
    pool.fill(needs);
    while (left().some((name) => name !== claimed?.id)) await pause(20);
  });
});
