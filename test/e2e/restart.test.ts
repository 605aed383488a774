import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import { ContainerState } from '../../runtime/client.ts';
import {
  createContainer,
  execute,
  exitOf,
  removePod,
  runContainer,
  runPod,
  statusField,
} from '../fixtures/pod.ts';
import { failureOf, openStage, plainPolicy } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/**
 * The daemon restarts without effect on pods. test/chaos covers random moments and kill -9 during requests.
 */
describe('a restarted daemon', () => {
  let stage: Stage;
  let reference = '';
  let image = '';
  before(async () => {
    stage = await openStage();
    ({ reference } = await stage.publish('app/a:1'));
    image = await stage.pull(reference);
  });
  after(() => stage.close());
  const runtime = () => stage.daemon.cri.runtime;

  for (const kill of [false, true]) {
    it(`finds images, pods, containers, addresses and exits after ${kill ? 'kill -9' : 'an orderly stop'}`, async () => {
      const pod = await runPod(stage, `lasting-${kill}`, { labels: { kept: 'yes' } });
      const lives = await runContainer(stage, pod, {
        name: 'lives',
        image,
        security: { seccomp: { profileType: 0 } },
        command: ['sh', '-c', 'while :; do echo tick; sleep 0.1; done'],
      });
      const ends = await runContainer(stage, pod, {
        name: 'ends',
        image,
        command: ['sh', '-c', 'sleep 1; exit 42'],
      });
      const waits = await createContainer(stage, pod, { name: 'waits', image, command: ['sleep', '600'] });
      const { status: before } = await runtime().podSandboxStatus({ podSandboxId: pod.id });
      await stage.restart({ kill, meanwhile: () => pause(1300) });
      const { status } = await runtime().podSandboxStatus({ podSandboxId: pod.id });
      assert.deepEqual(status, before);
      assert.equal((await exitOf(stage, ends)).exitCode, 42, 'the exit while no daemon ran');
      assert.equal(
        (await runtime().containerStatus({ containerId: lives })).status?.state,
        ContainerState.CONTAINER_RUNNING,
      );
      assert.equal((await execute(stage, lives, 'hostname')).stdout, `lasting-${kill}\n`);
      assert.equal(await statusField(stage, lives, 'Seccomp'), '2');
      await runtime().startContainer({ containerId: waits });
      const log = join(stage.logs, `lasting-${kill}/lives/0.log`);
      const size = readFileSync(log).length;
      for (let waited = 0; readFileSync(log).length <= size; waited += 50) {
        assert.ok(waited < 60_000, 'its log continues');
        await pause(50);
      }
      assert.equal(
        (await stage.daemon.cri.image.imageStatus({ image: { image: reference } })).image?.id,
        image,
      );
      const again = await runtime().runPodSandbox({ config: pod.config });
      assert.equal(again.podSandboxId, pod.id, 'the same request still returns the same pod');
      await runtime().stopContainer({ containerId: lives, timeout: 0 });
      assert.equal((await exitOf(stage, lives)).exitCode, 137);
      await removePod(stage, pod);
    });
  }

  it('a container that ended without its monitor is reported as lost, not as successful', async () => {
    const pod = await runPod(stage, 'lost');
    const id = await runContainer(stage, pod, { image });
    const { info } = await runtime().containerStatus({ containerId: id, verbose: true });
    const { pid, monitorPid } = JSON.parse(info['info'] ?? '') as { pid: number; monitorPid: number };
    await stage.restart({
      kill: true,
      meanwhile: async () => {
        process.kill(monitorPid, 'SIGKILL');
        process.kill(pid, 'SIGKILL');
        await pause(100);
      },
    });
    const status = await exitOf(stage, id);
    assert.equal(status.exitCode, 255);
    assert.equal(status.reason, 'MonitorLost');
    await removePod(stage, pod);
  });

  it('decides offline, by today’s policy: CreateContainer needs no registry', async () => {
    const pod = await runPod(stage, 'offline');
    await stage.restart({ meanwhile: async () => void process.kill(stage.registry.pid, 'SIGSTOP') });
    try {
      await runContainer(stage, pod, { image, reference });
      stage.writePolicy(plainPolicy.replace('good.test/**', 'other.test/**'));
      await stage.daemon.reload();
      const failure = await failureOf(createContainer(stage, pod, { name: 'second', image, reference }));
      assert.equal(failure.code, 'IMAGES_DENIED');
      stage.writePolicy(plainPolicy);
      await stage.daemon.reload();
    } finally {
      process.kill(stage.registry.pid, 'SIGCONT');
    }
    await removePod(stage, pod);
  });

  it('a second daemon on the same folders is refused, and the first continues', async () => {
    const { startDaemon } = await import('../fixtures/daemon.ts');
    await assert.rejects(
      startDaemon({ ...stage.folders, socket: `${stage.folders.socket}.2` }),
      /RUNTIME_\w+|already|in use/i,
    );
    assert.equal((await runtime().version({})).runtimeName, 'portcullis');
  });
});
