import { mkdirSync, rmSync } from 'node:fs';
import { mount, umount } from '../../base/kernel/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import { listTree, mountTar, unpack } from '../../runtime/images/erofs/erofs.fixture.ts';
import type { MountedLayer } from '../../runtime/images/erofs/erofs.fixture.ts';
import type { MatrixLayer } from './matrix.ts';

/**
 * Returns the tree of an image as a container sees it, from layers in both forms.
 * @param folder a path that does not exist; nothing is left there
 */
export async function ourTrees(
  kernel: Kernel,
  folder: string,
  layers: readonly MatrixLayer[],
): Promise<{ readonly file: readonly string[]; readonly folder: readonly string[] }> {
  const files = `${folder}.files`;
  mkdirSync(folder);
  // Folders with many files are unpacked and removed much faster in memory.
  mount('tmpfs', folder, 'tmpfs', 0);
  const mounted: MountedLayer[] = [];
  const roots: string[] = [];
  try {
    mkdirSync(files);
    for (const [index, { tar, blob }] of layers.entries()) {
      const path = `${files}/${index}`;
      mounted.unshift(await mountTar(kernel, path, tar, { blob, lowers: mounted.map(({ root }) => root) }));
      roots.unshift((await unpack(`${folder}/${index}`, tar, { blob, lowers: [...roots] })).root);
    }
    const file = await overlaid(
      kernel,
      `${folder}/file`,
      mounted.map(({ root }) => root),
    );
    return { file, folder: await overlaid(kernel, `${folder}/folder`, roots) };
  } finally {
    for (const each of mounted) each.unmount();
    rmSync(files, { recursive: true, force: true });
    umount(folder);
    rmSync(folder, { recursive: true });
  }
}

async function overlaid(
  kernel: Kernel,
  target: string,
  lower: readonly string[],
): Promise<readonly string[]> {
  // Without a writable layer: that would give the root its own owner, mode and time.
  mkdirSync(target);
  await kernel.mountOverlay({ lower, target });
  try {
    return listTree(target);
  } finally {
    await kernel.umount(target);
  }
}
