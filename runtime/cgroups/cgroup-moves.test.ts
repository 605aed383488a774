import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { kernelRelease, startKernelWorker } from '../../base/kernel/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import { favourCgroupMoves } from './cgroup-moves.ts';

let kernel: Kernel;
let folder: string;
before(async () => {
  kernel = await startKernelWorker();
  folder = mkdtempSync(join(tmpdir(), 'portcullis-moves-'));
});
after(async () => {
  await kernel.close();
  rmSync(folder, { recursive: true });
});

const { major, minor } = kernelRelease();
const able = major > 6 || (major === 6 && minor >= 18);

test('favordynmods is set on a kernel that supports it, and no mount stays', { skip: !able }, async () => {
  await favourCgroupMoves(kernel, folder);
  assert.ok(!readFileSync('/proc/self/mountinfo', 'utf8').includes(folder));
  assert.ok(!existsSync(join(folder, 'cgroup-moves')));
});

test('an older kernel is not changed', async () => {
  let mounts = 0;
  const watched = { mount: () => Promise.resolve(void (mounts += 1)), umount: () => Promise.resolve() };
  assert.equal(await favourCgroupMoves(watched, folder, { major: 6, minor: 17, release: '6.17.0' }), 'left');
  assert.equal(await favourCgroupMoves(watched, folder, { major: 5, minor: 19, release: '5.19.0' }), 'left');
  assert.equal(mounts, 0);
});
