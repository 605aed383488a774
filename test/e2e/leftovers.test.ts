import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { expectServing } from '../fixtures/pod.ts';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

describe('a leftover that cannot be removed', () => {
  let stage: Stage;
  let image = '';
  before(async () => {
    stage = await openStage();
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(() => stage.close());

  const leftovers = async (): Promise<readonly { readonly on: string; readonly why: string }[]> => {
    const { info } = await stage.daemon.cri.runtime.status({ verbose: true });
    return (JSON.parse(info['config'] ?? '{}') as { leftovers: { on: string; why: string }[] }).leftovers;
  };

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
    assert.deepEqual((await leftovers()).map(({ on }) => on).sort(), [stuck, notPins, rootfs].sort());
    assert.equal(existsSync(plain), false);
    await expectServing(stage, image);
    for (const path of [mount, rootfs]) execFileSync('umount', [path]);
    rmSync(notPins);
    await stage.restart();
    assert.deepEqual(await leftovers(), []);
    assert.equal(existsSync(stuck), false);
  });
});
