import { randomUUID } from 'node:crypto';
import { readdir, rename } from 'node:fs/promises';
import { errnoOf } from './limits/failures.ts';
import type { StoreFolders } from './folders.ts';
import type { LayerRoots } from './layer-roots.ts';
import type { Trash } from './trash.ts';

/**
 * The places of layers, `layers/<hex>`. Removes the content of a place without affecting the containers that
 * run on it.
 */
export interface LayerPlaces {
  /**
   * Frees a place. Files that containers use stay on disk under another name until those containers are
   * removed. Empty place: success.
   */
  vacate(folder: string): Promise<void>;
  /** Lets later uses of a layer mount the file that is at its place now. */
  forget(folder: string): void;
  /** Removes the files that were kept for containers that are now gone. */
  tidy(): Promise<void>;
}

/** A layer folder that was replaced under a running container: `<hex>.<uuid>`. */
const replaced = /^([0-9a-f]{64})\.[0-9a-f-]{36}$/;

/** Whether a name below `layers` is the name of a replaced folder. */
export function isReplaced(name: string): boolean {
  return replaced.test(name);
}

/** @param uses whether a container uses a layer folder */
export function createLayerPlaces(input: {
  readonly folders: StoreFolders;
  readonly trash: Trash;
  readonly uses: (folder: string) => boolean;
  readonly roots: Pick<LayerRoots, 'forget'>;
}): LayerPlaces {
  const { folders, trash, uses, roots } = input;
  // An earlier run may have left replaced folders.
  let mayHaveReplaced = true;
  return {
    async vacate(folder) {
      roots.forget(folder);
      const place = `${folders.layers}/${folder}`;
      if (!uses(folder)) {
        await trash.discard(place);
        return;
      }
      mayHaveReplaced = true;
      await rename(place, `${place}.${randomUUID()}`).catch((thrown: unknown) => {
        if (errnoOf(thrown) !== 'ENOENT') throw thrown;
      });
    },
    forget: roots.forget,
    async tidy() {
      if (!mayHaveReplaced) return;
      mayHaveReplaced = false;
      for (const name of await readdir(folders.layers)) {
        const folder = replaced.exec(name)?.[1];
        if (folder === undefined) continue;
        if (uses(folder)) mayHaveReplaced = true;
        else await trash.discard(`${folders.layers}/${name}`);
      }
    },
  };
}
