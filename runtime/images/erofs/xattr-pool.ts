import type { LayerBudget } from '../unpack/layer-budget.ts';
import type { Xattrs } from './tree.ts';
import { encodeXattrs } from './xattrs.ts';

/** The memory that a set of attributes takes in addition to its bytes. */
const overhead = 512;

/**
 * Keeps the extended attributes of files and folders until the end of a layer. Equal sets are kept, and
 * counted, once: images give the same attributes to many files.
 */
export interface XattrPool {
  /**
   * Returns the set to keep in place of `xattrs`; undefined for an empty one.
   * @param on the path, for messages
   * @throws IMAGES_LAYER_TOO_LARGE, IMAGES_LAYER_UNSUPPORTED when an inode cannot have these attributes
   */
  keep(xattrs: Xattrs | undefined, on: string): Xattrs | undefined;
}

export function createXattrPool(budget: LayerBudget): XattrPool {
  const kept = new Map<string, Xattrs>();
  return {
    keep(xattrs, on) {
      if (xattrs === undefined) return undefined;
      const key = encodeXattrs(xattrs, on)?.toString('latin1');
      if (key === undefined) return undefined;
      const known = kept.get(key);
      if (known !== undefined) return known;
      budget.keep(2 * key.length + overhead, on);
      kept.set(key, xattrs);
      return xattrs;
    },
  };
}
