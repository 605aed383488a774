import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { mount, umount } from '../../base/kernel/index.ts';
import { writableLayersOf } from './writable-layers.ts';

test('writable layers share the file system of the images, unless a separate file system is mounted for them', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'pc-writable-'));
  t.after(() => rmSync(root, { recursive: true }));
  for (const name of ['rootfs', 'layers']) mkdirSync(join(root, name));
  const shared = writableLayersOf(root);
  assert.deepEqual([shared.mountpoint, shared.separate], [root, false]);
  assert.equal(shared.folder('abc'), join(root, 'rootfs/abc/upper'));
  mount('tmpfs', join(root, 'rootfs'), 'tmpfs', 0);
  try {
    const own = writableLayersOf(root);
    assert.deepEqual([own.mountpoint, own.separate], [join(root, 'rootfs'), true]);
  } finally {
    umount(join(root, 'rootfs'));
  }
});
