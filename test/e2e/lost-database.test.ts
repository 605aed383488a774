import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import { patience } from '../fixtures/daemon.ts';
import { execute, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/**
 * Preloaded into the daemon: SIGUSR2 ends the thread that owns state.db, as a defect or its memory limit
 * would.
 */
const endsTheThread = `
import workerThreads from 'node:worker_threads';
import { syncBuiltinESMExports } from 'node:module';
workerThreads.Worker = class extends workerThreads.Worker {
  constructor(file, options) {
    super(file, options);
    if (String(options?.workerData?.path).endsWith('/state.db')) process.on('SIGUSR2', () => void this.terminate());
  }
};
syncBuiltinESMExports();
`;

describe('a daemon whose database thread is lost', () => {
  let folder = '';
  let stage: Stage;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pc-lost-'));
    const preload = join(folder, 'preload.mjs');
    writeFileSync(preload, endsTheThread);
    const launcher = join(import.meta.dirname, '../../packaging/bin/portcullisd');
    stage = await openStage({ program: ['env', `NODE_OPTIONS=--import=${preload}`, launcher] });
  });
  after(async () => {
    await stage.close();
    rmSync(folder, { recursive: true });
  });

  it('exits with 4 and a reason, so that its service manager restarts it; containers continue', async () => {
    const image = await stage.pull((await stage.publish('app/a:1')).reference);
    const pod = await runPod(stage, 'lasting');
    const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
    process.kill(stage.daemon.pid, 'SIGUSR2');
    for (let waited = 0; stage.daemon.isAlive(); waited += 20) {
      assert.ok(waited < patience, 'the daemon continues without its database');
      await pause(20);
    }
    assert.equal(await stage.daemon.stop(), 4);
    await stage.daemon.logged(/STORAGE_WRITER_LOST/);
    await stage.restart({ kill: true });
    assert.equal((await execute(stage, id, 'hostname')).stdout, 'lasting\n');
    await removePod(stage, pod);
  });
});
