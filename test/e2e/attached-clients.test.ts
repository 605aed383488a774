import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { exitOf, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { openCommand } from '../fixtures/stream-client.ts';

describe('a client that attaches', () => {
  let stage: Stage;
  let image = '';
  let pod: Pod;
  before(async () => {
    stage = await openStage();
    image = await stage.pull((await stage.publish('app/a:1')).reference);
    pod = await runPod(stage, 'stalled');
  });
  after(() => stage.close());

  // As with kubectl attach in a terminal that is suspended: the connection stays.
  it(
    'and does not read neither stops the output of its container nor hides its exit code',
    { timeout: 120_000 },
    async () => {
      const { runtime } = stage.daemon.cri;
      const line = 'x'.repeat(200);
      const containerId = await runContainer(stage, pod, {
        image,
        command: ['sh', '-c', `trap 'exit 7' TERM; while :; do echo ${line}; done`],
      });
      const { url } = await runtime.attach({
        containerId,
        stdout: true,
        stderr: true,
      });
      const client = new WebSocket(url.replace('http', 'ws'), 'v5.channel.k8s.io');
      await new Promise((resolve) => client.once('open', resolve));
      client.pause();
      const folder = dirname((await runtime.containerStatus({ containerId })).status?.logPath ?? '');
      const written = (): number =>
        readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
      let before = -1;
      // Until the connection holds no more output.
      for (let size = written(); size > before; size = written()) {
        before = size;
        await pause(500);
      }
      for (let waited = 0; written() === before; waited += 100) {
        assert.ok(waited < 20_000, 'the container has not written anything for 20 s');
        await pause(100);
      }
      await runtime.stopContainer({ containerId, timeout: 30 });
      const { exitCode, reason } = await exitOf(stage, containerId);
      assert.deepEqual([exitCode, reason], [7, 'Error']);
      client.terminate();
    },
  );

  it('waits for a monitor that accepts no clients yet', { timeout: 120_000 }, async () => {
    const { runtime } = stage.daemon.cri;
    const containerId = await runContainer(stage, pod, {
      name: 'queued',
      image,
      command: ['sh', '-c', 'while :; do echo line; sleep 0.1; done'],
    });
    const { info } = await runtime.containerStatus({ containerId, verbose: true });
    const { monitorPid } = JSON.parse(info['info'] ?? '{}') as { monitorPid: number };
    process.kill(monitorPid, 'SIGSTOP');
    const clients = [];
    // More than fit into its queue.
    for (let count = 0; count < 20; count += 1)
      clients.push(await openCommand((await runtime.attach({ containerId, stdout: true })).url));
    await pause(500);
    process.kill(monitorPid, 'SIGCONT');
    for (const client of clients) {
      let failure = '';
      void client.status.then(
        ({ message }) => (failure = message ?? 'it has ended'),
        () => undefined,
      );
      for (; !client.stdout().includes('line'); await pause(50)) assert.equal(failure, '');
      client.drop();
    }
  });

  it('and leaves while the container writes does not end the monitor', { timeout: 120_000 }, async () => {
    const { runtime } = stage.daemon.cri;
    for (let round = 0; round < 3; round += 1) {
      const containerId = await runContainer(stage, pod, {
        name: `left-${round}`,
        image,
        command: ['sh', '-c', `trap 'exit 7' TERM; while :; do echo line; sleep 0.01; done`],
      });
      for (let turn = 0; turn < 150; turn += 1) {
        const { url } = await runtime.attach({
          containerId,
          stdout: true,
          stderr: true,
        });
        const client = new WebSocket(url.replace('http', 'ws'), 'v5.channel.k8s.io');
        await new Promise((resolve) => client.once('open', resolve));
        client.terminate();
      }
      await runtime.stopContainer({ containerId, timeout: 30 });
      const { exitCode, reason } = await exitOf(stage, containerId);
      assert.deepEqual([exitCode, reason], [7, 'Error']);
    }
  });
});
