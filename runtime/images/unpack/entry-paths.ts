import type { LayerBudget } from './layer-budget.ts';
import { maxNameLength, resolvePlace, splitName } from './layer-tree.ts';
import type { Folder, Place } from './layer-tree.ts';

/** Finds the places of the names of an archive in its tree. */
export interface EntryPlaces {
  /**
   * Resolves the name of an entry, and creates the folders on the way; undefined: the name means the root.
   * @throws as `resolvePlace`
   */
  placeOf(name: string): Place | undefined;
  /** Resolves the next name from the root again: a symlink may change where it leads. */
  forgetLastParent(): void;
}

/** @param makeFolder creates a folder on the way to an entry */
export function createEntryPlaces(
  root: Folder,
  budget: LayerBudget,
  makeFolder: (parent: Folder, name: string) => Folder,
): EntryPlaces {
  /** Consecutive entries are mostly in the same folder. */
  let lastParent: { readonly name: string; readonly folder: Folder } | undefined;
  return {
    placeOf(name) {
      const slash = name.lastIndexOf('/');
      const hasParent = slash > 0 && slash < name.length - 1;
      // Fast path: a plain name in the folder of the previous entry. Entries that replace nodes reset it.
      if (lastParent !== undefined && hasParent && name.slice(0, slash) === lastParent.name) {
        const last = name.slice(slash + 1);
        if (last !== '.' && last !== '..' && last.length <= maxNameLength)
          return { folder: lastParent.folder, name: last };
      }
      const parts = splitName(name);
      if (parts.length === 0) return undefined;
      const place = resolvePlace(root, parts, budget, makeFolder);
      if (place !== undefined && hasParent) lastParent = { name: name.slice(0, slash), folder: place.folder };
      return place;
    },
    forgetLastParent() {
      lastParent = undefined;
    },
  };
}
