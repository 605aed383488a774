/**
 * A disk that fills up at each tenth of an unpack, of the database and of a log. Each time the request fails
 * with a code and a reason, the daemon serves, the actions of a kubelet free space, and then the request
 * succeeds.
 * `npm run test:full-disk` tests every tenth, `npm test` one tenth of each.
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { appendFileSync, readFileSync, rmSync, statSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { after, afterEach, before, describe, it } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import { layerOf } from '../fixtures/image.ts';
import { execute, exitOf, expectServing, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const kib = 1024;
const mib = 1024 * kib;
const ballastBytes = 8 * mib;
const every = process.env['PORTCULLIS_TENTHS'] === 'all';
const tenths = every ? [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] : [4];
/** With little space left, the database of the network is the first to run out of space. */
const tenthsOfRecords = every ? tenths : [1];
const isFull = /DISK_FULL|ENOSPC|no space left/i;

/** A separate file system in a file, full to the last block except for the requested free space. */
interface Disk {
  free(): number;
  /** Writes a filler until `left` bytes are free. Removes the previous filler first. */
  leave(left: number): void;
  /** Removes the filler. */
  clear(): void;
  close(): void;
}

function openDisk(image: string, at: string, bytes: number): Disk {
  execFileSync('truncate', ['-s', String(bytes), image]);
  execFileSync('mkfs.ext4', ['-q', '-b', '4096', '-m', '0', image]);
  execFileSync('mount', ['-o', 'loop', image, at]);
  const filler = join(at, 'filler');
  const free = (): number => {
    const { bavail, bsize } = statfsSync(at);
    return bavail * bsize;
  };
  return {
    free,
    leave(left) {
      rmSync(filler, { force: true });
      execFileSync('sync', ['-f', at]);
      for (const step of [mib, 64 * kib, 4 * kib])
        try {
          while (free() - left >= step) {
            appendFileSync(filler, randomBytes(step));
            if (step === mib) continue;
            // Blocks of a file written just now are not allocated yet.
            execFileSync('sync', ['-f', at]);
          }
        } catch (error) {
          assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC');
        }
    },
    clear: () => rmSync(filler, { force: true }),
    close: () => execFileSync('umount', ['--lazy', at]),
  };
}

function failureIn(thrown: unknown): PortcullisError {
  assert.ok(isPortcullisError(thrown), String(thrown));
  return thrown;
}

async function until(what: string, isSo: () => boolean, ms = 20_000): Promise<void> {
  for (let waited = 0; !isSo(); waited += 50) {
    assert.ok(waited < ms, what);
    await pause(50);
  }
}

describe('a disk for images and the database that fills up', () => {
  let stage: Stage;
  let disk: Disk;
  let small = '';
  let spare = '';
  let lives = '';
  const ballast = (): string => join(stage.folders.root, 'ballast');
  const ballastIsFull = (): Promise<void> =>
    until(
      'the ballast did not reach its size',
      () => (statSync(ballast(), { throwIfNoEntry: false })?.size ?? 0) >= ballastBytes,
      90_000,
    );

  before(async () => {
    stage = await openStage();
    await stage.restart({
      meanwhile: () => {
        disk = openDisk(join(stage.folders.folder, 'disk.img'), stage.folders.root, 160 * mib);
        return Promise.resolve();
      },
    });
    small = await stage.pull((await stage.publish('app/small:1')).reference);
    const layers = [await layerOf([{ name: 'spare', body: randomBytes(24 * mib) }])];
    spare = await stage.pull((await stage.publish('app/spare:1', { layers })).reference);
    const files = Array.from({ length: 160 }, (_, index) => ({
      name: `files/${index}`,
      body: randomBytes(64 * kib),
    }));
    await stage.publish('app/large:1', { layers: [await layerOf(files)] });
    lives = await runContainer(stage, await runPod(stage, 'lasting'), {
      name: 'lives',
      image: small,
      command: ['sleep', '3600'],
    });
    await ballastIsFull();
  });
  after(async () => {
    disk.clear();
    for (const { id } of (await stage.daemon.cri.runtime.listPodSandbox({})).items)
      await stage.daemon.cri.runtime.removePodSandbox({ podSandboxId: id });
    await stage.restart({ meanwhile: () => Promise.resolve(disk.close()) });
    await stage.close();
  });
  // Leftovers of a failed test must not affect the next one.
  afterEach(async () => {
    disk.clear();
    // A daemon fills its ballast soon after its start, and otherwise within a minute.
    await stage.restart();
    await ballastIsFull();
  });
  const expectServes = async (): Promise<void> => {
    assert.equal((await execute(stage, lives, 'hostname')).stdout, 'lasting\n');
    assert.ok((await stage.daemon.cri.image.listImages({})).images.length > 0);
  };
  const pullLarge = (): Promise<string> => stage.pull('good.test/app/large:1');
  const removeImage = (image: string): Promise<unknown> =>
    stage.daemon.cri.image.removeImage({ image: { image } });

  it('the space that a pull needs is measured, and a removal frees it', async () => {
    const begin = disk.free();
    const large = await pullLarge();
    const taken = begin - disk.free();
    assert.ok(taken > 8 * mib, `a pull takes ${taken}`);
    await removeImage(large);
    await until('RemoveImage frees the space', () => disk.free() > begin - mib);
  });

  for (const tenth of tenths)
    it(`at ${tenth} tenths of a pull`, async () => {
      const begin = disk.free();
      const large = await pullLarge();
      const taken = begin - disk.free();
      await removeImage(large);
      await until('RemoveImage frees the space', () => disk.free() > begin - mib);
      await ballastIsFull();
      disk.leave(Math.floor((taken * tenth) / 10));
      const failure = await failureOf(pullLarge());
      assert.match(`${failure.code} ${failure.message}`, isFull);
      await expectServes();
      // Nothing of the failed pull remains: the same space is free again, except for the ballast.
      const before = disk.free();
      await removeImage(spare);
      await until('RemoveImage frees', () => disk.free() > before + 16 * mib);
      await pullLarge();
      await removeImage('good.test/app/large:1');
      disk.clear();
      spare = await stage.pull('good.test/app/spare:1');
    });

  for (const tenth of tenthsOfRecords)
    it(`at ${tenth} tenths of the space for the records of ten pods`, async () => {
      await ballastIsFull();
      const sizes = (): number =>
        ['state.db', 'state.db-wal', 'network.db', 'network.db-wal'].reduce(
          (sum, name) => sum + sizeOf(join(stage.folders.root, name)),
          0,
        );
      const first = sizes();
      const pods: Pod[] = [];
      for (let index = 0; index < 10; index += 1) pods.push(await runPod(stage, `measure-${tenth}-${index}`));
      const taken = Math.max(40 * kib, sizes() - first);
      for (const pod of pods.splice(0)) await removePod(stage, pod);
      disk.leave(Math.floor((taken * tenth) / 10));
      // Until one is refused. With an empty database log a few may fit.
      let refused: unknown;
      for (let index = 0; refused === undefined && index < 400; index += 1)
        try {
          const pod = await runPod(stage, `full-${tenth}-${index}`);
          pods.push(pod);
          await runContainer(stage, pod, { image: small, command: ['sleep', '3600'] });
        } catch (thrown) {
          refused = thrown;
        }
      const { code, message } = failureIn(refused);
      assert.match(`${code} ${message}`, isFull);
      await expectServes();
      // A kubelet evicts: it removes pods, and then an image.
      for (const { id } of (await stage.daemon.cri.runtime.listPodSandbox({})).items) {
        const { status } = await stage.daemon.cri.runtime.podSandboxStatus({ podSandboxId: id });
        if (status?.metadata?.name === 'lasting') continue;
        await stage.daemon.cri.runtime.stopPodSandbox({ podSandboxId: id });
        await stage.daemon.cri.runtime.removePodSandbox({ podSandboxId: id });
      }
      const before = disk.free();
      await removeImage(spare);
      await until('RemoveImage frees', () => disk.free() > before + 16 * mib);
      await expectServing(stage, small);
      disk.clear();
      spare = await stage.pull('good.test/app/spare:1');
    });
});

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

describe('a log disk that fills up', () => {
  let stage: Stage;
  let disk: Disk;
  let image = '';
  const logBytes = 1 * mib;

  before(async () => {
    stage = await openStage();
    disk = openDisk(join(stage.folders.folder, 'logs.img'), stage.logs, 16 * mib);
    image = await stage.pull((await stage.publish('app/small:1')).reference);
  });
  after(async () => {
    disk.clear();
    for (const { id } of (await stage.daemon.cri.runtime.listPodSandbox({})).items)
      await stage.daemon.cri.runtime.removePodSandbox({ podSandboxId: id });
    disk.close();
    await stage.close();
  });

  for (const tenth of tenths)
    it(`at ${tenth} tenths of a log`, async () => {
      disk.clear();
      const pod = await runPod(stage, `logs-${tenth}`);
      // 1,024 lines of 1 KiB, a pause until it may continue, one more line, and a distinct exit code.
      const line = 'x'.repeat(1_000);
      const script = `i=0; while [ $i -lt 1024 ]; do echo $i ${line}; i=$((i+1)); done; echo written > /tmp/written; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo the last line; exit 9`;
      const id = await runContainer(stage, pod, {
        image,
        command: ['sh', '-c', `while [ ! -e /tmp/begin ]; do sleep 0.05; done; ${script}`],
      });
      disk.leave(Math.floor((logBytes * tenth) / 10));
      await execute(stage, id, 'touch', '/tmp/begin');
      let isWritten = false;
      for (let waited = 0; !isWritten && waited < 60_000; waited += 100) {
        await pause(100);
        isWritten =
          (await execute(stage, id, 'cat', '/tmp/written').catch(() => ({ stdout: '' }))).stdout ===
          'written\n';
      }
      assert.ok(isWritten, 'a full disk of logs does not stop the program');
      const { runtime } = stage.daemon.cri;
      // Its rotation fails with a reason, or needs no space.
      await runtime.reopenContainerLog({ containerId: id }).catch((thrown: unknown) => {
        const failure = failureIn(thrown);
        assert.match(`${failure.code} ${failure.message}`, isFull);
      });
      await expectServing(stage, image).catch((thrown: unknown) => {
        // A new pod needs a folder and a file for its log.
        const failure = failureIn(thrown);
        assert.match(`${failure.code} ${failure.message}`, isFull);
      });
      // Like the cleanup of a kubelet: the file is truncated or removed, and reopened.
      disk.clear();
      const path = join(stage.logs, `logs-${tenth}`, 'main/0.log');
      rmSync(path);
      await runtime.reopenContainerLog({ containerId: id });
      await execute(stage, id, 'touch', '/tmp/go');
      const { exitCode, reason } = await exitOf(stage, id);
      assert.deepEqual([exitCode, reason], [9, 'Error']);
      assert.match(readFileSync(path, 'utf8'), /the last line/);
      await expectServing(stage, image);
      await removePod(stage, pod);
    });
});
