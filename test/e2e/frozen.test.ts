import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import { exitOf, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const freezer = '/sys/fs/cgroup/freezer';
const skip = readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${freezer} `)
  ? false
  : 'no cgroup version 1 freezer here';

/** Waits until a process has a child, and returns all its children. */
async function childrenOf(pid: number): Promise<string[]> {
  for (;;) {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    if (children !== '') return children.split(' ');
    await pause(5);
  }
}

/**
 * Paused by an operator or from inside the container. With cgroup version 1, SIGKILL does not end a frozen
 * process.
 */
describe('a frozen container', { skip }, () => {
  let stage: Stage;
  let image = '';
  before(async () => {
    stage = await openStage();
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(() => stage.close());

  for (const part of ['as a whole', 'frozen in a cgroup below its own'])
    it(`can be stopped: ${part}`, async () => {
      const pod = await runPod(stage, `frozen-${part.length}`);
      const id = await runContainer(stage, pod, { image, command: ['sh', '-c', 'sleep 600 & wait'] });
      const { info } = await stage.daemon.cri.runtime.containerStatus({ containerId: id, verbose: true });
      const { pid } = JSON.parse(info['info'] ?? '{}') as { pid: number };
      const own = /^\d+:freezer:(.*)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8'))?.[1] ?? '';
      let frozen = join(freezer, own);
      if (part !== 'as a whole') {
        frozen = join(frozen, 'below');
        mkdirSync(frozen);
        const children = await childrenOf(pid);
        assert.equal(children.length, 1, children.join(' '));
        writeFileSync(join(frozen, 'cgroup.procs'), children[0] ?? '');
      }
      const state = join(frozen, 'freezer.state');
      writeFileSync(state, 'FROZEN');
      while (readFileSync(state, 'utf8') !== 'FROZEN\n') await pause(5);
      await stage.daemon.cri.runtime.stopContainer({ containerId: id, timeout: 0 }, { timeoutMs: 20_000 });
      assert.equal((await exitOf(stage, id)).exitCode, 137);
      await removePod(stage, pod);
    });

  // The kernel ends no process while a cgroup above its own is frozen, as it ends none that waits for a dead
  // file server.
  it('whose pod cannot be stopped does not delay the start of the daemon', { timeout: 200_000 }, async () => {
    const parent = `${stage.cgroupParent}/stuck`;
    const pod = await runPod(stage, 'stuck', { linux: { cgroupParent: parent } });
    await runContainer(stage, pod, { image, command: ['sleep', '600'] });
    const state = join(freezer, parent, 'freezer.state');
    writeFileSync(state, 'FROZEN');
    try {
      const stopped = stage.daemon.cri.runtime
        .stopPodSandbox({ podSandboxId: pod.id }, { timeoutMs: 100_000 })
        .catch(() => undefined);
      await pause(500);
      const began = performance.now();
      await stage.restart({ kill: true });
      assert.ok(performance.now() - began < 30_000, `${performance.now() - began} ms`);
      await stopped;
    } finally {
      writeFileSync(state, 'THAWED');
    }
    await removePod(stage, pod);
  });
});
