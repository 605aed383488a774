import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Kernel } from '../../base/kernel/index.ts';
import { makeStoreFolders, storeFolders } from './folders.ts';
import { openLayerRoots } from './layer-roots.ts';

test('a file of others among the mount points does not prevent the start', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'pc-layer-roots-'));
  t.after(() => rmSync(root, { recursive: true }));
  const folders = storeFolders(join(root, 'images'));
  await makeStoreFolders(folders);
  writeFileSync(join(folders.mounts, '.nfs0001'), '');
  mkdirSync(join(folders.mounts, 'lost+found', 'file'), { recursive: true });
  mkdirSync(join(folders.mounts, '4711.1'));
  await openLayerRoots({
    folders,
    kernel: {} as Kernel,
    pool: { check: () => Promise.resolve() },
    recorded: () => undefined,
    way: { kind: 'none', why: 'not tried' },
    damaged: () => undefined,
    requireGuarded: () => undefined,
    log: { warn: () => undefined },
  });
  assert.deepEqual(readdirSync(folders.mounts).sort(), ['.nfs0001', 'lost+found']);
});
