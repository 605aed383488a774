import { statSync } from 'node:fs';
import { storeFolders } from './folders.ts';

/** Where the changes of containers lie. */
export interface WritableLayers {
  /** Of one container; it may not be there. */
  folder(containerId: string): string;
  /** What names their file system to a kubelet: the store's root, or a folder below it that is a file system of its own. */
  readonly mountpoint: string;
  /** Whether images lie on another file system. */
  readonly separate: boolean;
}

/** Of the image store at `root`, which exists. */
export function writableLayersOf(root: string): WritableLayers {
  const { rootfs, layers } = storeFolders(root);
  const separate = statSync(rootfs).dev !== statSync(layers).dev;
  return { folder: (containerId) => `${rootfs}/${containerId}/upper`, mountpoint: separate ? rootfs : root, separate };
}
