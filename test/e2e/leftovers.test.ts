import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { expectServing, runContainer, runPod } from '../fixtures/pod.ts';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** Returns what the start of the daemon could not remove. */
async function leftoversOf(stage: Stage): Promise<readonly { readonly on: string; readonly why: string }[]> {
  const { info } = await stage.daemon.cri.runtime.status({ verbose: true });
  return (JSON.parse(info['config'] ?? '{}') as { leftovers: { on: string; why: string }[] }).leftovers;
}

describe('a leftover that cannot be removed', () => {
  let stage: Stage;
  let image = '';
  before(async () => {
    stage = await openStage();
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(() => stage.close());

  it('is reported, and the daemon removes the rest and serves; the next start tries again', async () => {
    const containers = join(stage.folders.state, 'containers');
    const [stuck, plain] = [join(containers, 'd'.repeat(64)), join(containers, 'e'.repeat(64))];
    const mount = join(stuck, 'mount');
    const [notPins, rootfs] = [
      join(stage.folders.state, 'ns', 'd'.repeat(16)),
      join(stage.folders.root, 'images/rootfs', 'd'.repeat(64)),
    ];
    await stage.restart({
      kill: true,
      meanwhile: () => {
        for (const path of [mount, plain]) mkdirSync(path, { recursive: true });
        execFileSync('mount', ['-t', 'tmpfs', 'none', mount]);
        writeFileSync(notPins, '');
        mkdirSync(rootfs);
        execFileSync('mount', ['-t', 'tmpfs', 'none', rootfs]);
        return Promise.resolve();
      },
    });
    assert.deepEqual((await leftoversOf(stage)).map(({ on }) => on).sort(), [stuck, notPins, rootfs].sort());
    assert.equal(existsSync(plain), false);
    await expectServing(stage, image);
    for (const path of [mount, rootfs]) execFileSync('umount', [path]);
    rmSync(notPins);
    await stage.restart();
    assert.deepEqual(await leftoversOf(stage), []);
    assert.equal(existsSync(stuck), false);
  });
});

describe('an entry of another type with the path of', () => {
  let stage: Stage;
  let image = '';
  before(async () => {
    stage = await openStage();
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(() => stage.close());

  const places: Readonly<Record<string, (id: string) => void>> = {
    'the link for attach': (id) => {
      const link = join(stage.folders.state, 'a', id.slice(0, 16));
      rmSync(link);
      mkdirSync(join(link, 'below'), { recursive: true });
    },
    'the log of the monitor': (id) =>
      void mkdirSync(join(stage.folders.root, 'monitor-logs', id, 'below'), { recursive: true }),
    'the folder of the container': (id) => {
      const folder = join(stage.folders.state, 'containers', id);
      rmSync(folder, { recursive: true });
      writeFileSync(folder, '');
    },
  };
  for (const [what, replace] of Object.entries(places))
    it(`${what} is removed with the container`, async () => {
      const { runtime } = stage.daemon.cri;
      const pod = await runPod(stage, 'replaced', { logDirectory: '' });
      const containerId = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
      replace(containerId);
      await runtime.stopContainer({ containerId, timeout: 0 });
      await runtime.removePodSandbox({ podSandboxId: pod.id });
      await stage.restart();
      assert.deepEqual(await leftoversOf(stage), []);
    });
});
