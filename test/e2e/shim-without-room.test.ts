import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { exitOf, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { findTool } from '../fixtures/tools.ts';

const [shim, runc] = [findTool('containerd-shim-runc-v2'), findTool('runc')];
const skip = shim.skip === false ? runc.skip : shim.skip;

describe('a pod of a shim whose state is on a file system that takes no writes', { skip }, () => {
  let stage: Stage;
  let image = '';
  let folder = '';
  let pod: Pod;
  const filler = (): string => join(stage.folders.state, 'filler');
  const run = (...words: readonly [string, ...string[]]) => ({
    meanwhile: () => Promise.resolve(void execFileSync(words[0], words.slice(1))),
  });
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pc-no-room-'));
    const config = join(folder, 'config.yaml');
    const runtimes = { shim: { path: shim.path, type: 'shim', runtimePath: runc.path } };
    writeFileSync(config, JSON.stringify({ runtimes, defaultRuntime: 'shim' }));
    stage = await openStage({ flags: ['--config', config] });
    await stage.restart(run('mount', '-t', 'tmpfs', '-o', 'mode=0700,size=16m', 'none', stage.folders.state));
    image = await stage.pull((await stage.publish('app/a:1')).reference);
    pod = await runPod(stage, 'shim-without-room');
  });
  after(async () => {
    await removePod(stage, pod);
    await stage.restart(run('umount', '--lazy', stage.folders.state));
    await stage.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const remount = (access: string): void =>
    void execFileSync('mount', ['-o', `remount,${access}`, stage.folders.state]);

  it('says that the disk is full when an update of its resources finds no space', async () => {
    const containerId = await runContainer(stage, pod, { image, name: 'full', command: ['sleep', '600'] });
    assert.throws(
      () => {
        for (;;) appendFileSync(filler(), 'x'.repeat(4096));
      },
      { code: 'ENOSPC' },
    );
    const linux = { memoryLimitInBytes: 100_000_000 };
    try {
      const failure = await failureOf(
        stage.daemon.cri.runtime.updateContainerResources({ containerId, linux }),
      );
      assert.equal(failure.kind, 'exhausted', String(failure));
    } finally {
      rmSync(filler());
    }
  });

  it('ends by its stop signal although the runtime of the shim cannot write its log', async () => {
    const containerId = await runContainer(stage, pod, {
      image,
      name: 'asked',
      command: ['sh', '-c', 'trap "exit 7" TERM; echo ready; while true; do sleep 0.1; done'],
    });
    const log = join(pod.config.logDirectory ?? '', 'asked', '0.log');
    while (!readFileSync(log, 'utf8').includes('ready')) await pause(20);
    remount('ro');
    try {
      await stage.daemon.cri.runtime.stopContainer({ containerId, timeout: 20 });
    } finally {
      remount('rw');
    }
    assert.equal((await exitOf(stage, containerId)).exitCode, 7);
  });
});
