import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { appendFileSync, existsSync, rmSync, statSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import { layerOf } from '../fixtures/image.ts';
import { createContainer, execute, exitOf, expectServing, runContainer, runPod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const mib = 1024 * 1024;
const ballastBytes = 8 * mib;
const address = '127.0.0.1:19465';

/** `npm run test:full-disk` also fills a tmpfs. */
const fileSystems =
  process.env['PORTCULLIS_TENTHS'] === 'all' ? (['tmpfs', 'ext4'] as const) : (['ext4'] as const);

/** The root folder of the daemon on a separate file system, which is full to the last byte. */
for (const fileSystem of fileSystems)
  describe(`a full disk (${fileSystem})`, () => {
    let stage: Stage;
    let small = '';
    let large = '';
    const inRoot = (name: string): string => join(stage.folders.root, name);

    before(async () => {
      stage = await openStage();
      const config = join(stage.folders.folder, 'config.yaml');
      writeFileSync(config, `metrics: { address: "${address}" }\n`);
      const disk = join(stage.folders.folder, 'disk.img');
      await stage.restart({
        meanwhile: () => {
          if (fileSystem === 'tmpfs')
            execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=96m,mode=0700', 'none', stage.folders.root]);
          else {
            execFileSync('truncate', ['-s', '96M', disk]);
            execFileSync('mkfs.ext4', ['-q', '-b', '4096', '-m', '0', disk]);
            execFileSync('mount', ['-o', 'loop', disk, stage.folders.root]);
          }
          return Promise.resolve();
        },
        flags: ['--config', config],
      });
      small = await stage.pull((await stage.publish('app/small:1')).reference);
      const layers = [await layerOf([{ name: 'data', body: randomBytes(20 * mib) }])];
      large = await stage.pull((await stage.publish('app/large:1', { layers })).reference);
    });
    after(async () => {
      rmSync(inRoot('filler'), { force: true });
      try {
        await stage.restart({
          meanwhile: () => Promise.resolve(void execFileSync('umount', ['--lazy', stage.folders.root])),
        });
      } finally {
        await stage.close();
      }
    });

    const ballastFull = async (): Promise<void> => {
      for (
        let waited = 0;
        (statSync(inRoot('ballast'), { throwIfNoEntry: false })?.size ?? 0) < ballastBytes;
        waited += 50
      ) {
        assert.ok(waited < 30_000, 'there is no ballast');
        await pause(50);
      }
    };
    const fill = (): void => {
      for (const bytes of [mib, 4096, 1])
        try {
          for (;;) appendFileSync(inRoot('filler'), 'x'.repeat(bytes));
        } catch (error) {
          assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC');
        }
    };
    /**
     * The monitor cannot write the exit code. Before Linux 6.15, which reports it, the code is reported as
     * lost, never as another.
     */
    const expectKilled = async (containerId: string): Promise<void> => {
      const { exitCode, reason } = await exitOf(stage, containerId);
      assert.ok(exitCode === 137 || (exitCode === 255 && reason === 'MonitorLost'), `${exitCode} ${reason}`);
    };
    const health = async (): Promise<number> => (await fetch(`http://${address}/healthz`)).status;

    it('makes new requests fail, but affects neither liveness nor running containers', async () => {
      const pod = await runPod(stage, 'lasting');
      const lives = await runContainer(stage, pod, {
        name: 'lives',
        image: small,
        command: ['sleep', '600'],
      });
      const dies = await runContainer(stage, pod, { name: 'dies', image: small, command: ['sleep', '600'] });
      const { info } = await stage.daemon.cri.runtime.containerStatus({ containerId: dies, verbose: true });
      await ballastFull();
      fill();
      process.kill((JSON.parse(info['info'] ?? '{}') as { pid: number }).pid, 'SIGKILL');
      await expectKilled(dies);
      await stage.daemon.cri.runtime.removeContainer({ containerId: dies });
      fill();
      const failure = await failureOf(
        stage.pull(
          (
            await stage.publish('app/new:1', {
              layers: [await layerOf([{ name: 'new', body: randomBytes(mib) }])],
            })
          ).reference,
        ),
      );
      assert.match(`${failure.code} ${failure.message}`, /DISK_FULL|ENOSPC|no space/i);
      await pause(1_100);
      assert.equal(await health(), 200);
      assert.equal((await execute(stage, lives, 'hostname')).stdout, 'lasting\n');
      // The records of a few pods fit into reserved pages of the database. After that no space is left for
      // new ones.
      const created: string[] = [];
      const create = async (): Promise<void> => {
        for (let index = 0; index < 200; index += 1)
          created.push(
            await createContainer(stage, pod, {
              name: `new-${index}`,
              image: small,
              command: ['sleep', '600'],
            }),
          );
      };
      const refused = await failureOf(create());
      assert.match(`${refused.code} ${refused.message}`, /DISK_FULL|ENOSPC|no space/i);
      for (const containerId of created) await stage.daemon.cri.runtime.removeContainer({ containerId });
    });

    it('loses no exit code, whether the daemon runs or not', async () => {
      const { runtime } = stage.daemon.cri;
      rmSync(inRoot('filler'), { force: true });
      const pod = await runPod(stage, 'codes');
      const command = ['sh', '-c', 'trap "exit 7" TERM; touch /tmp/ready; while :; do sleep 0.05; done'];
      const ids = [];
      for (const name of ['present', 'away'])
        ids.push(await runContainer(stage, pod, { name, image: small, command }));
      const pids = await Promise.all(
        ids.map(async (containerId) => {
          const { info } = await runtime.containerStatus({ containerId, verbose: true });
          return (JSON.parse(info['info'] ?? '{}') as { pid: number }).pid;
        }),
      );
      for (const id of ids)
        while ((await execute(stage, id, 'test', '-e', '/tmp/ready')).exitCode !== 0) await pause(20);
      fill();
      process.kill(pids[0] ?? 0, 'SIGTERM');
      await exitOf(stage, ids[0] ?? '');
      await stage.restart({
        kill: true,
        flags: ['--config', join(stage.folders.folder, 'config.yaml')],
        meanwhile: async () => {
          fill();
          process.kill(pids[1] ?? 0, 'SIGTERM');
          while (existsSync(`/proc/${pids[1]}`)) await pause(20);
        },
      });
      for (const id of ids) {
        const { exitCode, reason } = await exitOf(stage, id);
        assert.deepEqual([exitCode, reason], [7, 'Error']);
      }
      await stage.daemon.cri.runtime.removePodSandbox({ podSandboxId: pod.id });
    });

    for (const kill of [true, false])
      it(`does not prevent the daemon from starting after ${kill ? 'kill -9' : 'an orderly stop'}`, async () => {
        fill();
        await stage.restart({ kill, flags: ['--config', join(stage.folders.folder, 'config.yaml')] });
        fill();
        await pause(1_100);
        assert.equal(await health(), 200);
        const { containers: items } = await stage.daemon.cri.runtime.listContainers({});
        assert.equal(items.length, 1);
        assert.equal((await execute(stage, items[0]?.id ?? '', 'hostname')).stdout, 'lasting\n');
      });

    it('allows a kubelet to evict: StopContainer, RemovePodSandbox and RemoveImage free space, and the next pull succeeds', async () => {
      const { runtime, image } = stage.daemon.cri;
      const [container] = (await runtime.listContainers({})).containers;
      fill();
      await runtime.stopContainer({ containerId: container?.id ?? '', timeout: 0 });
      await expectKilled(container?.id ?? '');
      await runtime.removePodSandbox({ podSandboxId: container?.podSandboxId ?? '' });
      assert.deepEqual((await runtime.listContainers({})).containers, []);
      fill();
      await image.removeImage({ image: { image: large } });
      const free = (): number => statfsSync(stage.folders.root).bavail * statfsSync(stage.folders.root).bsize;
      for (let waited = 0; free() < 15 * mib; waited += 50) {
        assert.ok(waited < 60_000, `RemoveImage freed ${free()} bytes`);
        await pause(50);
      }
      const again = await stage.pull(`good.test/app/new:1`);
      await expectServing(stage, again);
    });
  });
