import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { layerOf } from '../fixtures/image.ts';
import { createContainer, execute, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

describe('options of a mount', () => {
  let stage: Stage;
  let image = '';
  const folder = mkdtempSync(join(tmpdir(), 'mount-options-'));
  before(async () => {
    stage = await openStage();
    image = await stage.pull((await stage.publish('app/a:1')).reference);
    writeFileSync(join(folder, 'program'), '#!/bin/sh\necho ran\n');
    chmodSync(join(folder, 'program'), 0o755);
  });
  after(async () => {
    await stage.close();
    rmSync(folder, { recursive: true });
  });
  const mount = (containerPath: string, mountOptions: readonly string[]) => ({
    containerPath,
    hostPath: folder,
    mountOptions: [...mountOptions],
  });

  for (const handler of ['crun', 'runc'])
    it(`restrict it, and no other mount of the same folder (${handler})`, async () => {
      const { features } = await stage.daemon.cri.runtime.status({});
      assert.equal(features?.mountOptions, true);
      const pod = await runPod(stage, `options-${handler}`, {}, handler);
      const restricted = ['noexec', 'nosuid', 'nodev'];
      const id = await runContainer(stage, pod, {
        image,
        command: ['sleep', '600'],
        more: { mounts: [mount('/plain', []), mount('/restricted', restricted)] },
      });
      assert.equal((await execute(stage, id, '/plain/program')).stdout, 'ran\n');
      const refused = await failureOf(execute(stage, id, '/restricted/program'));
      assert.equal(refused.code, 'RUNTIME_EXEC_REFUSED');
      const mounts = (await execute(stage, id, 'cat', '/proc/mounts')).stdout;
      const options = / \/restricted \S+ (\S+)/.exec(mounts)?.[1]?.split(',') ?? [];
      for (const option of restricted) assert.ok(options.includes(option), options.join());
      await removePod(stage, pod);
    });

  for (const handler of ['crun', 'runc'])
    it(`are not needed to mount behind a link of the image to a missing folder (${handler})`, async () => {
      const layers = [
        await layerOf([
          { name: 'var/', type: 'directory' },
          { name: 'var/run', type: 'symlink', linkname: '/missing' },
          { name: 'folder', type: 'symlink', linkname: '/also/missing' },
        ]),
      ];
      const { reference } = await stage.publish(`app/links-${handler}:1`, { layers });
      const pod = await runPod(stage, `links-${handler}`, {}, handler);
      const id = await runContainer(stage, pod, {
        image: await stage.pull(reference),
        command: ['sleep', '600'],
        more: {
          mounts: [
            mount('/var/run/secrets/account', []),
            mount('/folder', []),
            { containerPath: '/var/run/file', hostPath: join(folder, 'program') },
          ],
        },
      });
      for (const path of ['/missing/secrets/account/program', '/also/missing/program', '/missing/file'])
        assert.equal((await execute(stage, id, path)).stdout, 'ran\n', path);
      await removePod(stage, pod);
    });

  it('that permit something are refused', async () => {
    const pod = await runPod(stage, 'permitting');
    for (const option of ['exec', 'dev', 'suid', 'rw', 'rshared', 'lowerdir=/']) {
      const failure = await failureOf(
        createContainer(stage, pod, { image, more: { mounts: [mount('/data', [option])] } }),
      );
      assert.deepEqual([failure.code, failure.kind], ['RUNTIME_BAD_MOUNT', 'invalid'], option);
    }
    await removePod(stage, pod);
  });
});
