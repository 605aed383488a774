import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { startKernelWorker } from '../../base/kernel/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import { makePodFiles, removePodFiles } from './files.ts';

describe('removing the files of a pod', () => {
  let kernel: Kernel;
  let folder = '';
  before(async () => void (kernel = await startKernelWorker()));
  after(() => kernel.close());
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-pod-files-'));
    mkdirSync(join(folder, 'host'));
    writeFileSync(join(folder, 'host/of-the-host'), '');
    mkdirSync(join(folder, 'pod/shm'), { recursive: true });
    writeFileSync(join(folder, 'pod/hosts'), '');
    execFileSync('mount', ['--bind', join(folder, 'host'), join(folder, 'pod/shm')]);
  });
  const end = (): void => rmSync(folder, { recursive: true });

  it('unmounts their mounts from the host and removes them, and can be repeated', async () => {
    await removePodFiles(join(folder, 'pod'), kernel);
    await removePodFiles(join(folder, 'pod'), kernel);
    assert.deepEqual(
      [existsSync(join(folder, 'pod')), readdirSync(join(folder, 'host'))],
      [false, ['of-the-host']],
    );
    end();
  });

  it('removes nothing while a mount cannot be unmounted', async () => {
    const lost = new Error('the thread of mounts has ended');
    await assert.rejects(removePodFiles(join(folder, 'pod'), { umount: () => Promise.reject(lost) }), lost);
    assert.deepEqual(
      [existsSync(join(folder, 'pod/hosts')), readdirSync(join(folder, 'host'))],
      [true, ['of-the-host']],
    );
    await removePodFiles(join(folder, 'pod'), kernel);
    end();
  });

  it('removes nothing of a second mount at the same path', async () => {
    execFileSync('mount', ['--bind', join(folder, 'host'), join(folder, 'pod/shm')]);
    await assert.rejects(removePodFiles(join(folder, 'pod'), kernel), { code: 'EBUSY' });
    assert.deepEqual(readdirSync(join(folder, 'host')), ['of-the-host']);
    await removePodFiles(join(folder, 'pod'), kernel);
    end();
  });
});

describe('writing the files of a pod', () => {
  it('fails if the files of the host cannot be read, and does not give the pod empty files', async (t) => {
    const kernel = await startKernelWorker();
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-pod-files-'));
    t.after(async () => {
      await kernel.close();
      rmSync(folder, { recursive: true });
    });
    for (const file of ['/etc/resolv.conf', '/etc/hosts']) {
      const podDir = join(folder, basename(file));
      // A read of this file fails with EIO: nothing is mapped at the address 0.
      execFileSync('mount', ['--bind', `/proc/${process.pid}/mem`, file]);
      try {
        const input = { ...{ podDir, hostname: 'pod', dns: undefined, hostNetwork: true, hostIpc: false } };
        await assert.rejects(makePodFiles({ ...input, shmBytes: 65_536, kernel }), { code: 'EIO' });
      } finally {
        execFileSync('umount', [file]);
        await removePodFiles(podDir, kernel);
      }
    }
  });
});
