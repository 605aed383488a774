import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startKernelWorker } from '../../base/kernel/index.ts';
import type { DiskUsage, Kernel } from '../../base/kernel/index.ts';
import { createWritableLayers } from './writable-layers.ts';

describe('usage of writable layers', () => {
  let kernel: Kernel;
  let folder = '';
  before(async () => {
    kernel = await startKernelWorker();
    folder = mkdtempSync(join(tmpdir(), 'pc-layers-'));
    // The kernel's thread starts with the first folder, and a caller waits at most a second for a first
    // value.
    await kernel.diskUsage(folder);
  });
  after(async () => {
    await kernel.close();
    rmSync(folder, { recursive: true });
  });

  test('is counted at the first request, and then returned from memory until the value is old', async () => {
    const upper = join(folder, 'upper');
    mkdirSync(upper);
    writeFileSync(join(upper, 'a'), Buffer.alloc(1 << 20));
    let now = 0;
    const layers = createWritableLayers(kernel, () => now);
    const [first, none] = await layers.usage([upper, join(folder, 'no-such-folder')]);
    assert.equal(none, undefined);
    assert.equal(first?.inodesUsed, 2);
    assert.ok(first.usedBytes >= 1 << 20 && first.usedBytes < 2 << 20);
    assert.ok(
      first.filesystem.bytes > first.usedBytes && first.filesystem.inodes > first.filesystem.freeInodes,
    );

    writeFileSync(join(upper, 'b'), Buffer.alloc(1 << 20));
    now = 9_000;
    assert.deepEqual(await layers.usage([upper]), [first], 'not old yet');
    now = 11_000;
    assert.deepEqual(await layers.usage([upper]), [first], 'is the old value while a new value is counted');
    const until = Date.now() + 20_000;
    while ((await layers.usage([upper]))[0]?.inodesUsed === 2 && Date.now() < until)
      await new Promise((resolve) => setTimeout(resolve, 5));
    const [second] = await layers.usage([upper]);
    assert.equal(second?.inodesUsed, 3);
    assert.ok(second.usedBytes >= 2 << 20);
  });

  test('is counted for a few layers at a time, once for each, and no caller waits forever', async () => {
    const waiting: ((usage: DiskUsage) => void)[] = [];
    const slow = { diskUsage: () => new Promise<DiskUsage>((resolve) => waiting.push(resolve)) };
    const layers = createWritableLayers(slow);
    const folders = Array.from({ length: 20 }, (_, index) => {
      mkdirSync(join(folder, `slow${index}`));
      return join(folder, `slow${index}`);
    });
    const [one, two] = await Promise.all([layers.usage(folders), layers.usage(folders)]);
    assert.ok(
      [...one, ...two].every((usage) => usage === undefined),
      'not known in time',
    );
    assert.equal(waiting.length, 2);
    for (let counted = 0; counted < folders.length; counted += 1) {
      while (waiting[counted] === undefined) await new Promise((resolve) => setTimeout(resolve, 1));
      waiting[counted]?.({ bytes: 4096, inodes: 1 });
    }
    while ((await layers.usage(folders)).includes(undefined))
      await new Promise((resolve) => setTimeout(resolve, 1));
    assert.equal(waiting.length, folders.length);
  });
});
