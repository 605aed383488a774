import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { commandFile, runProgram } from '../fixtures/command.ts';
import { runContainer, runPod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** The root folder of the daemon on a separate file system, which the kernel makes read-only by a failure. */
describe('a disk that fails', () => {
  let stage: Stage;
  let image = '';
  const mount = (name: string): void =>
    void execFileSync('mount', ['-o', 'loop', join(stage.folders.folder, name), stage.folders.root]);
  const unmount = (): void => void execFileSync('umount', ['--lazy', stage.folders.root]);
  before(async () => {
    stage = await openStage();
    const disk = join(stage.folders.folder, 'disk.img');
    await stage.restart({
      meanwhile: () => {
        execFileSync('truncate', ['-s', '96M', disk]);
        execFileSync('mkfs.ext4', ['-q', disk]);
        mount('disk.img');
        return Promise.resolve();
      },
    });
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(async () => {
    // The disk is repaired, so that the daemon can remove its pods.
    const [broken, repaired] = ['disk.img', 'repaired.img'].map((name) => join(stage.folders.folder, name));
    await stage.restart({
      kill: true,
      meanwhile: async () => {
        unmount();
        copyFileSync(broken ?? '', repaired ?? '');
        await runProgram('e2fsck', ['-fy', repaired ?? ''], process.env);
        mount('repaired.img');
      },
    });
    const { runtime } = stage.daemon.cri;
    for (const { id } of (await runtime.listPodSandbox({})).items)
      await runtime.removePodSandbox({ podSandboxId: id });
    await stage.restart({ meanwhile: () => Promise.resolve(unmount()) });
    await stage.close();
  });

  it('makes the node not ready, and every stop still ends the processes', async () => {
    const { runtime } = stage.daemon.cri;
    const runtimeReady = async () =>
      (await runtime.status({ verbose: true })).status?.conditions.find(
        ({ type }) => type === 'RuntimeReady',
      );
    const run = async (name: string) => {
      const pod = await runPod(stage, name);
      const containerId = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
      const { info } = await runtime.containerStatus({ containerId, verbose: true });
      return { pod, containerId, ...(JSON.parse(info['info'] ?? '{}') as { readonly pid: number }) };
    };
    const [stopped, stoppedWithPod] = [await run('first'), await run('second')];
    assert.equal((await runtimeReady())?.status, true);

    // The kernel aborts the journal, and each write fails.
    execFileSync('mount', ['-o', 'remount,abort', stage.folders.root]);
    const condition = await runtimeReady();
    assert.partialDeepStrictEqual(condition, { status: false, reason: 'DatabaseNotWritable' });
    assert.match(condition?.message ?? '', /^no pod .*state\.db: disk I\/O error; check the disk/u);
    const config = join(stage.folders.folder, 'config.yaml');
    const { socket, root, state, policy, cniConf } = stage.folders;
    writeFileSync(
      config,
      JSON.stringify({ socket, root, state, policy: [policy], cni: { confDir: cniConf } }),
    );
    const words = [commandFile, 'doctor', '--config', config];
    const { stdout } = await runProgram(process.execPath, words, process.env);
    assert.match(stdout, /no pod or container can start.*disk I\/O error/u);

    const { containerId } = stopped;
    const failures = [
      await failureOf(runtime.stopContainer({ containerId, timeout: 0 })),
      await failureOf(runtime.stopPodSandbox({ podSandboxId: stoppedWithPod.pod.id })),
    ];
    assert.deepEqual(
      failures.map(({ code }) => code),
      ['STORAGE_IO', 'STORAGE_IO'],
    );
    for (const { pid } of [stopped, stoppedWithPod]) assert.equal(existsSync(`/proc/${pid}`), false);
  });
});
