import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { attempt } from '../../base/errors/index.ts';
import { isOnOverlay } from '../../base/kernel/index.ts';
import type { Finding } from './finding.ts';

/**
 * Reports a file system on which no container can have its writable layer.
 * @param root the folder `root` of the daemon's configuration, which need not exist yet
 */
export function writableLayerFindings(root: string): readonly Finding[] {
  let folder = join(root, 'images/rootfs');
  while (!existsSync(folder) && dirname(folder) !== folder) folder = dirname(folder);
  if (attempt(() => isOnOverlay(folder)) !== true) return [];
  return [
    {
      topic: 'writable layers',
      state: 'missing',
      found: `${folder} is on overlayfs, like the root of a container`,
      meaning: ['the kernel accepts no writable layer there: no container can be created'],
      fix: `mount a volume or disk with ext4, XFS or btrfs at ${root}, or set \`root\` to a folder on one`,
    },
  ];
}
