import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { MNT_DETACH, mount, mountOverlay, startKernelWorker, umount } from '../../base/kernel/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { storeFolders } from './folders.ts';
import type { LayerRoots } from './layer-roots.ts';
import { openRootfsStore } from './rootfs.ts';

test('a container in a store on overlayfs fails with the reason and the remedy', async (t) => {
  const folder = mkdtempSync('/tmp/pc-rootfs-');
  mount('tmpfs', folder, 'tmpfs', 0);
  t.after(() => {
    umount(folder, MNT_DETACH);
    rmSync(folder, { recursive: true });
  });
  const at = (name: string): string => join(folder, name);
  for (const name of ['lower', 'upper', 'work', 'container']) mkdirSync(at(name));
  mountOverlay({ lower: [at('lower')], upper: at('upper'), work: at('work'), target: at('container') });
  const folders = storeFolders(at('container/lib'));
  for (const path of [folders.rootfs, folders.empty]) mkdirSync(path, { recursive: true });
  const kernel = await startKernelWorker();
  t.after(() => kernel.close());
  const mapped = { folder: at('container/mapped'), open: () => Promise.resolve() };
  mkdirSync(mapped.folder);
  const use = (_: unknown, body: (lower: string[]) => unknown): unknown => body([]);
  const roots = { use } as unknown as LayerRoots;
  const trash = {
    discard: (path: string) => {
      rmSync(path, { recursive: true, force: true });
      return Promise.resolve();
    },
  };
  const log = createLogger({ level: 'silent' });
  const store = await openRootfsStore(folders, mapped, kernel, roots, trash as never, log);
  await assert.rejects(store.mount('c1', 'image', [], undefined, undefined), (thrown: Error) => {
    assert.match(thrown.message, /rootfs is on overlayfs.*mount a volume there/u);
    assert.match(thrown.message, /IMAGES_ROOTFS_FAILED/u);
    return true;
  });
});
