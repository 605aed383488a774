import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { startKernelWorker } from '../../base/kernel/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { holdDescriptors } from '../../base/process/descriptors.fixture.ts';
import { createTrash } from './trash.ts';

/** Creates an ext4 file system of 4 MiB whose folders grow with every 1024 bytes of names. */
function smallDisk(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-trash-'));
  const disk = join(folder, 'disk');
  mkdirSync(disk);
  execFileSync('truncate', ['-s', '4M', `${disk}.img`]);
  execFileSync('mkfs.ext4', ['-q', '-b', '1024', '-m', '0', `${disk}.img`]);
  execFileSync('mount', ['-o', 'loop', `${disk}.img`, disk]);
  t.after(() => {
    execFileSync('umount', [disk]);
    rmSync(folder, { recursive: true });
  });
  return disk;
}

/** Creates a folder that has no room for another name of a trash entry without growing. */
function fullFolder(disk: string, name: string): string {
  const probe = join(disk, 'probe');
  mkdirSync(probe);
  const { size } = statSync(probe);
  let names = 0;
  for (; statSync(probe).size === size; names += 1) writeFileSync(join(probe, randomUUID()), '');
  const folder = join(disk, name);
  mkdirSync(folder);
  for (let made = 1; made < names; made += 1) writeFileSync(join(folder, randomUUID()), '');
  rmSync(probe, { recursive: true });
  return folder;
}

test('files discarded on a full disk are removed, even if the trash folder has no space for their name', async (t) => {
  const disk = smallDisk(t);
  const folder = fullFolder(disk, 'trash');
  const before = readdirSync(folder).length;
  const layer = join(disk, 'layer');
  mkdirSync(join(layer, 'fs'), { recursive: true });
  writeFileSync(join(layer, 'fs/file'), 'x'.repeat(10_000));
  for (const bytes of [65_536, 1])
    assert.throws(
      () => {
        for (;;) appendFileSync(join(disk, 'filler'), 'x'.repeat(bytes));
      },
      { code: 'ENOSPC' },
    );
  const kernel = await startKernelWorker();
  t.after(() => kernel.close());
  const trash = createTrash(folder, kernel, createLogger({ level: 'silent' }));
  await trash.discard(layer);
  await trash.settled();
  assert.equal(existsSync(layer), false);
  assert.equal(readdirSync(folder).length, before, 'it was removed in its place');
});

/** Creates a folder with so many files that its removal takes a while. */
function wideTree(folder: string, name: string): string {
  const tree = join(folder, name);
  mkdirSync(tree);
  for (let file = 0; file < 20_000; file += 1) writeFileSync(join(tree, String(file)), '');
  return tree;
}

function memory(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-trash-'));
  execFileSync('mount', ['-t', 'tmpfs', 'none', folder]);
  t.after(() => {
    execFileSync('umount', ['--lazy', folder]);
    rmSync(folder, { recursive: true });
  });
  mkdirSync(join(folder, 'trash'));
  return folder;
}

test('a stop does not wait until all discarded files are removed, and the next start removes the rest', async (t) => {
  const folder = memory(t);
  const kernel = await startKernelWorker();
  const trash = createTrash(join(folder, 'trash'), kernel, createLogger({ level: 'silent' }));
  for (const name of ['a', 'b', 'c']) await trash.discard(wideTree(folder, name));
  await trash.close(0);
  await kernel.close();
  assert.notEqual(readdirSync(join(folder, 'trash')).length, 0);
  const next = await startKernelWorker();
  t.after(() => next.close());
  const again = createTrash(join(folder, 'trash'), next, createLogger({ level: 'silent' }));
  await again.empty();
  await again.settled();
  assert.deepEqual(readdirSync(join(folder, 'trash')), []);
});

test('the folder of a layer in one file is removed without a Worker', async (t) => {
  const folder = memory(t);
  const trash = createTrash(
    join(folder, 'trash'),
    { removeTree: () => assert.fail('a Worker removes it'), giveUpRemovals: () => Promise.resolve() },
    createLogger({ level: 'silent' }),
  );
  mkdirSync(join(folder, 'layer'));
  writeFileSync(join(folder, 'layer/layer.erofs'), 'x');
  await trash.discard(join(folder, 'layer'));
  await trash.settled();
  assert.deepEqual(readdirSync(join(folder, 'trash')), []);
});

test('a failed removal is repeated', { timeout: 60_000 }, async (t) => {
  const folder = memory(t);
  const kernel = await startKernelWorker();
  t.after(() => kernel.close());
  const trash = createTrash(join(folder, 'trash'), kernel, createLogger({ level: 'silent' }));
  mkdirSync(join(folder, 'layer/busy'), { recursive: true });
  // A mount is never removed.
  execFileSync('mount', ['-t', 'tmpfs', 'none', join(folder, 'layer/busy')]);
  await trash.discard(join(folder, 'layer'));
  await trash.settled();
  const [left = ''] = readdirSync(join(folder, 'trash'));
  execFileSync('umount', [join(folder, 'trash', left, 'busy')]);
  while (existsSync(join(folder, 'trash', left))) await pause(50);
});

test('files that could not be removed for lack of descriptors are removed when some are free', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-trash-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const [trashFolder, layer] = [join(folder, 'trash'), join(folder, 'layer')];
  mkdirSync(trashFolder);
  mkdirSync(join(layer, 'fs'), { recursive: true });
  const kernel = await startKernelWorker();
  t.after(() => kernel.close());
  const failed = Promise.withResolvers<undefined>();
  const trash = createTrash(trashFolder, kernel, { warn: () => failed.resolve(undefined) });
  const descriptors = holdDescriptors();
  try {
    descriptors.fill();
    await trash.discard(layer);
    await failed.promise;
  } finally {
    descriptors.release();
  }
  assert.equal(readdirSync(trashFolder).length, 1);
  for (let waited = 0; readdirSync(trashFolder).length > 0 && waited < 60_000; waited += 50) await pause(50);
  assert.deepEqual(readdirSync(trashFolder), []);
  await trash.settled();
});

test('files of another file system than the trash folder are removed where they are', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-trash-'));
  const other = join(folder, 'other');
  for (const name of ['trash', 'other']) mkdirSync(join(folder, name));
  execFileSync('mount', ['-t', 'tmpfs', 'portcullis-test', other]);
  const kernel = await startKernelWorker();
  t.after(async () => {
    await kernel.close();
    execFileSync('umount', [other]);
    rmSync(folder, { recursive: true });
  });
  mkdirSync(join(other, 'container/upper'), { recursive: true });
  writeFileSync(join(other, 'container/upper/file'), 'x');
  const trash = createTrash(join(folder, 'trash'), kernel, createLogger({ level: 'silent' }));
  await trash.discard(join(other, 'container'));
  assert.deepEqual(readdirSync(other), []);
});
