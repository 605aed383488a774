import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import { attempt } from '../../base/errors/index.ts';
import { ContainerState, PodSandboxState } from '../../runtime/client.ts';
import { createContainer, execute, expectServing, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { mountsBelow, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** CRI NamespaceMode NODE. */
const node = 2;

/**
 * The state folder is a tmpfs, like /run. A reboot removes it and every process, mount, namespace and link.
 * The root folder stays.
 */
describe('a machine that reboots', () => {
  let stage: Stage;
  let image = '';
  before(async () => {
    stage = await openStage();
    await stage.restart({
      meanwhile: () => {
        freshState();
        return Promise.resolve();
      },
    });
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(async () => {
    await stage.restart({
      meanwhile: () => Promise.resolve(void execFileSync('umount', [stage.folders.state])),
    });
    await stage.close();
  });

  function freshState(): void {
    const { state } = stage.folders;
    for (const name of readdirSync(state)) rmSync(join(state, name), { recursive: true, force: true });
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'mode=0700', 'tmpfs', state]);
  }

  const processOf = async (containerId: string): Promise<number[]> => {
    const { info } = await stage.daemon.cri.runtime.containerStatus({ containerId, verbose: true });
    const { pid, monitorPid } = JSON.parse(info['info'] ?? '{}') as { pid: number; monitorPid: number };
    return [monitorPid, pid];
  };

  it('has its images and no running pod, and can create the same pods again', async () => {
    const pod = await runPod(stage, 'before');
    // It has no namespaces whose absence could be noticed.
    const host = await runPod(stage, 'host', {
      linux: { securityContext: { namespaceOptions: { network: node, ipc: node } } },
    });
    const running = await runContainer(stage, pod, { name: 'running', image, command: ['sleep', '600'] });
    const waiting = await createContainer(stage, pod, { name: 'waiting', image, command: ['sleep', '600'] });
    const pids = [...(await processOf(running)), ...(await processOf(waiting))];
    await stage.restart({
      kill: true,
      meanwhile: async () => {
        // The end of a process can end its monitor, before it is killed.
        for (const pid of pids) attempt(() => process.kill(pid, 'SIGKILL'));
        await pause(200);
        for (const path of mountsBelow(stage.folders.folder).reverse())
          execFileSync('umount', ['--lazy', path]);
        assert.deepEqual(mountsBelow(stage.folders.folder), []);
        execFileSync('ip', ['link', 'del', 'e2e0']);
        freshState();
      },
    });
    const { runtime } = stage.daemon.cri;
    assert.equal(
      (await runtime.podSandboxStatus({ podSandboxId: pod.id })).status?.state,
      PodSandboxState.SANDBOX_NOTREADY,
    );
    assert.equal(
      (await runtime.podSandboxStatus({ podSandboxId: host.id })).status?.state,
      PodSandboxState.SANDBOX_NOTREADY,
    );
    for (const containerId of [running, waiting]) {
      const { status } = await runtime.containerStatus({ containerId });
      assert.equal(status?.state, ContainerState.CONTAINER_EXITED);
      assert.equal(status.exitCode, 255, 'its exit code is unknown');
    }
    const again = await runPod(stage, 'before', { metadata: { ...pod.config.metadata, attempt: 1 } });
    const id = await runContainer(stage, again, { image, command: ['sleep', '600'] });
    assert.equal((await execute(stage, id, 'echo', 'well')).stdout, 'well\n');
    for (const one of [pod, host, again]) await removePod(stage, one);
    assert.deepEqual(readdirSync(join(stage.folders.root, 'images/rootfs')), []);
    await expectServing(stage, image);
  });
});
