/**
 * The disk of the root folder has no free byte, and the ballast is used up and its file removed. Then a
 * kubelet acts: the daemon starts, images and pods are removed, and the next pull succeeds.
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { appendFileSync, rmSync, statSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { layerOf } from '../fixtures/image.ts';
import { createContainer, execute, expectServing, runContainer, runPod } from '../fixtures/pod.ts';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const mib = 1024 * 1024;
const ballastBytes = 8 * mib;
/** The space that each database reserves. */
const logBytes = ballastBytes / 16;

/** `npm run test:full-disk` also fills a tmpfs. */
const fileSystems =
  process.env['PORTCULLIS_TENTHS'] === 'all' ? (['tmpfs', 'ext4'] as const) : (['ext4'] as const);

for (const fileSystem of fileSystems)
  describe(`a full disk without ballast (${fileSystem})`, () => {
    let stage: Stage;
    let small = '';
    let large = '';
    const inRoot = (name: string): string => join(stage.folders.root, name);

    before(async () => {
      stage = await openStage();
      const disk = join(stage.folders.folder, 'disk.img');
      await stage.restart({
        meanwhile: () => {
          if (fileSystem === 'tmpfs')
            execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=128m,mode=0700', 'none', stage.folders.root]);
          else {
            execFileSync('truncate', ['-s', '128M', disk]);
            execFileSync('mkfs.ext4', ['-q', '-b', '4096', '-m', '0', disk]);
            execFileSync('mount', ['-o', 'loop', disk, stage.folders.root]);
          }
          return Promise.resolve();
        },
      });
      small = await stage.pull((await stage.publish('app/small:1')).reference);
      const layers = [await layerOf([{ name: 'data', body: randomBytes(20 * mib) }])];
      large = await stage.pull((await stage.publish('app/large:1', { layers })).reference);
      await stage.publish('app/new:1', {
        layers: [await layerOf([{ name: 'new', body: randomBytes(mib) }])],
      });
      await runContainer(stage, await runPod(stage, 'lasting'), {
        name: 'lives',
        image: small,
        command: ['sleep', '600'],
      });
      const kept = { ballast: ballastBytes, 'state.db-wal': logBytes, 'network.db-wal': logBytes };
      for (const [name, bytes] of Object.entries(kept))
        for (
          let waited = 0;
          (statSync(inRoot(name), { throwIfNoEntry: false })?.size ?? 0) < bytes;
          waited += 50
        ) {
          assert.ok(waited < 30_000, `${name} does not have its full size`);
          await pause(50);
        }
    });
    after(async () => {
      rmSync(inRoot('filler'), { force: true });
      for (const { id } of (await stage.daemon.cri.runtime.listPodSandbox({})).items)
        await stage.daemon.cri.runtime.removePodSandbox({ podSandboxId: id });
      await stage.restart({
        meanwhile: () => Promise.resolve(void execFileSync('umount', ['--lazy', stage.folders.root])),
      });
      await stage.close();
    });

    const free = (): number => statfsSync(stage.folders.root).bavail * statfsSync(stage.folders.root).bsize;
    /** Fills the disk until no byte fits, also after space freed earlier becomes available. */
    const fill = (): void => {
      rmSync(inRoot('ballast'), { force: true });
      // The daemon continues to free space in the background.
      for (let rounds = 0; rounds < 2 || (rounds < 20 && free() > 0); rounds += 1) {
        for (const bytes of [mib, 4096, 1])
          try {
            for (;;) appendFileSync(inRoot('filler'), 'x'.repeat(bytes));
          } catch (error) {
            assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC');
          }
        execFileSync('sync', ['-f', stage.folders.root]);
      }
      assert.equal(free(), 0);
    };
    const expectLasting = async (): Promise<void> => {
      const { containers } = await stage.daemon.cri.runtime.listContainers({});
      assert.equal((await execute(stage, containers[0]?.id ?? '', 'hostname')).stdout, 'lasting\n');
    };

    for (const kill of [true, false])
      it(`a daemon starts after ${kill ? 'kill -9' : 'an orderly stop'}`, async () => {
        fill();
        await stage.restart({ kill, meanwhile: () => Promise.resolve(fill()) });
        fill();
        await expectLasting();
      });

    it('a daemon whose databases reserved no space starts with the space that an interrupted pull held', async () => {
      fill();
      await stage.restart({
        meanwhile: () => {
          for (const name of ['state.db', 'network.db'])
            for (const suffix of ['-reserve', '-reserve-index'])
              rmSync(inRoot(`${name}${suffix}`), { force: true });
          rmSync(inRoot('filler'));
          writeFileSync(inRoot('images/ingest/interrupted.1.x'), randomBytes(2 * mib));
          return Promise.resolve(fill());
        },
      });
      fill();
      await expectLasting();
    });

    it('repeated refused requests do not use the space that removals need', async () => {
      const pods: string[] = [];
      let refused = 0;
      // Like the retries of a kubelet. Each adds a verdict to the log while there is space.
      for (let index = 0; index < 60; index += 1) {
        const tried = async (): Promise<void> => {
          const pod = await runPod(stage, `refused-${index}`);
          pods.push(pod.id);
          await createContainer(stage, pod, { name: 'new', image: small, command: ['sleep', '600'] });
        };
        await tried().catch((thrown: unknown) => {
          assert.ok(isPortcullisError(thrown), String(thrown));
          refused += 1;
        });
        fill();
      }
      assert.ok(refused > 0, 'some requests are refused because the disk is full');
      const { runtime } = stage.daemon.cri;
      for (const podSandboxId of pods) {
        await runtime.stopPodSandbox({ podSandboxId });
        fill();
        await runtime.removePodSandbox({ podSandboxId });
        fill();
      }
      await expectLasting();
    });

    it('removals of pods and images free the disk, and the next pull succeeds', async () => {
      const { runtime, image } = stage.daemon.cri;
      const [container] = (await runtime.listContainers({})).containers;
      fill();
      await runtime.stopContainer({ containerId: container?.id ?? '', timeout: 0 });
      fill();
      await runtime.removeContainer({ containerId: container?.id ?? '' });
      fill();
      await runtime.stopPodSandbox({ podSandboxId: container?.podSandboxId ?? '' });
      fill();
      await runtime.removePodSandbox({ podSandboxId: container?.podSandboxId ?? '' });
      assert.deepEqual((await runtime.listPodSandbox({})).items, []);
      fill();
      await image.removeImage({ image: { image: large } });
      for (let waited = 0; free() < 15 * mib; waited += 50) {
        assert.ok(waited < 60_000, `RemoveImage freed ${free()} bytes`);
        await pause(50);
      }
      await expectServing(stage, await stage.pull('good.test/app/new:1'));
    });
  });
