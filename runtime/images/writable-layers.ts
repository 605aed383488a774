import { statSync } from 'node:fs';
import { storeFolders } from './folders.ts';

/** Where the writable layers of containers are. */
export interface WritableLayers {
  /** Returns the folder of one container; it may not exist. */
  folder(containerId: string): string;
  /**
   * The path that identifies their file system to a kubelet: the store's root, or a folder below it that is a
   * separate file system.
   */
  readonly mountpoint: string;
  /** Whether images are on another file system. */
  readonly separate: boolean;
}

/** Returns the writable layers of the image store at `root`, which exists. */
export function writableLayersOf(root: string): WritableLayers {
  const { rootfs, layers } = storeFolders(root);
  const separate = statSync(rootfs).dev !== statSync(layers).dev;
  return {
    folder: (containerId) => `${rootfs}/${containerId}/upper`,
    mountpoint: separate ? rootfs : root,
    separate,
  };
}
