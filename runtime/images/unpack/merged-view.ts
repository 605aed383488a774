import { readlinkSync } from 'node:fs';
import { nativePath } from './layer-files.ts';
import { layerError } from './layer-error.ts';
import { printable } from './layer-tree.ts';
import type { Folder } from './layer-tree.ts';
import { lookUpLower } from './lower-layers.ts';
import type { LowerFolder, LowerNode } from './lower-layers.ts';

/** One folder of the merged view: what the layer itself has there, and the folders of the layers below, top-most first. */
export interface Merged {
  readonly own: Folder | undefined;
  readonly lower: readonly LowerFolder[];
  readonly name: string;
  readonly parent: Merged | undefined;
}

const maxSymlinks = 40;

export function mergedRoot(root: Folder, lowers: readonly string[]): Merged {
  return { own: root, lower: root.opaque ? [] : lowers.map((layer) => ({ layer, path: '' })), name: '', parent: undefined };
}

/** What the layers below show at `name` of `here`, when the layer itself does not hide it. */
export function belowOf(here: Merged, name: string): LowerNode {
  const own = here.own?.children.get(name);
  if (own?.kind === 'whiteout' || (own?.kind === 'folder' && own.opaque)) return { kind: 'none' };
  return lookUpLower(here.lower, name);
}

/**
 * Follows `path` from `from`; every symlink is followed inside the root. A folder that stands nowhere is given as an empty one.
 * A folder of the layer that the archive does not list does not hide a symlink below.
 */
export function walkMerged(top: Merged, from: Merged, path: string): Merged {
  let here = path.startsWith('/') ? top : from;
  let followed = 0;
  const rest = path.split('/').reverse();
  for (let name = rest.pop(); name !== undefined; name = rest.pop()) {
    if (name === '' || name === '.') continue;
    if (name === '..') {
      here = here.parent ?? top;
      continue;
    }
    const next = step(here, name);
    if (typeof next !== 'string') {
      here = next;
      continue;
    }
    if (++followed > maxSymlinks) throw layerError('IMAGES_LAYER_BAD_NAME', printable(path), 'too many symlinks on the way');
    if (next.startsWith('/')) here = top;
    rest.push(...next.split('/').reverse());
  }
  return here;
}

/** One name down: the merged folder, or a symlink's target. */
function step(here: Merged, name: string): Merged | string {
  const own = here.own?.children.get(name);
  if (own?.kind === 'symlink') return own.target;
  if (own !== undefined && own.kind !== 'folder' && own.kind !== 'whiteout') throw notAFolder(name);
  const folder = own?.kind === 'folder' ? own : undefined;
  const below = belowOf(here, name);
  if (below.kind === 'other' && folder?.explicit !== true) {
    if (below.stats.isSymbolicLink()) return readLink(below.at);
    throw notAFolder(name);
  }
  return { own: folder, lower: below.kind === 'folder' ? below.folders : [], name, parent: here };
}

export function readLink(at: LowerFolder): string {
  return readlinkSync(nativePath(at.layer, at.path), 'latin1');
}

function notAFolder(name: string): Error {
  return layerError('IMAGES_LAYER_BAD_NAME', printable(name), 'a file stands where the layer needs a folder');
}
