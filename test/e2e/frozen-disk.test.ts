import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { patience } from '../fixtures/daemon.ts';
import { execute, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/**
 * The root folder of the daemon on a separate file system whose writes wait, as on a disk that hangs, or
 * while a snapshot of a volume is taken (fsfreeze(8)).
 */
describe('a disk that hangs', () => {
  let stage: Stage;
  let image = '';
  const freeze = (option: '--freeze' | '--unfreeze'): void =>
    void execFileSync('fsfreeze', [option, stage.folders.root]);
  before(async () => {
    stage = await openStage();
    const disk = join(stage.folders.folder, 'disk.img');
    await stage.restart({
      meanwhile: () => {
        execFileSync('truncate', ['-s', '96M', disk]);
        execFileSync('mkfs.ext4', ['-q', disk]);
        execFileSync('mount', ['-o', 'loop', disk, stage.folders.root]);
        return Promise.resolve();
      },
    });
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(async () => {
    const { runtime } = stage.daemon.cri;
    for (const { id } of (await runtime.listPodSandbox({})).items)
      await runtime.removePodSandbox({ podSandboxId: id });
    await stage.restart({
      meanwhile: () => Promise.resolve(void execFileSync('umount', ['--lazy', stage.folders.root])),
    });
    await stage.close();
  });

  it('delays only the calls that write to it', async () => {
    const { runtime } = stage.daemon.cri;
    const pod = await runPod(stage, 'first');
    const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
    freeze('--freeze');
    const thaw = (): void => freeze('--unfreeze');
    process.once('exit', thaw);
    let waiting;
    try {
      waiting = runPod(stage, 'second');
      // The daemon looks for services every two seconds.
      for (const end = performance.now() + 5_000; performance.now() < end;) {
        assert.equal((await execute(stage, id, 'echo', 'runs')).stdout, 'runs\n');
        const { containers } = await runtime.listContainers({}, { timeoutMs: patience });
        assert.deepEqual(
          containers.map((each) => each.id),
          [id],
        );
      }
      const { info } = await runtime.containerStatus(
        { containerId: id, verbose: true },
        { timeoutMs: patience },
      );
      assert.match(info['verdict'] ?? '', /"outcome":"unknown","why":"the database did not answer/);
      const ofPod = await runtime.podSandboxStatus(
        { podSandboxId: pod.id, verbose: true },
        { timeoutMs: patience },
      );
      assert.deepEqual(Object.keys(ofPod.info).sort(), ['info', 'link', 'profiles', 'verdicts']);
      const ofImage = await stage.daemon.cri.image.imageStatus({ image: { image }, verbose: true });
      assert.deepEqual(Object.keys(ofImage.info).sort(), ['info', 'verdict']);
    } finally {
      process.off('exit', thaw);
      thaw();
    }
    for (const each of [await waiting, pod]) await removePod(stage, each);
  });
});
