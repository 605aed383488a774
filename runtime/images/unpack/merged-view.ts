import { readlinkSync } from 'node:fs';
import { append } from '../../../base/lists/index.ts';
import { nativePath } from './layer-files.ts';
import type { LayerBudget } from './layer-budget.ts';
import { layerError } from './layer-error.ts';
import { printable } from './printable.ts';
import type { Folder } from './layer-tree.ts';
import { emptyView, viewOf } from './lower-layers.ts';
import type { LowerFolder, LowerNode, LowerReader, LowerView } from './lower-layers.ts';

/** One folder of the merged view: the layer's own folder there, and the view of the layers below there. */
export interface Merged {
  readonly own: Folder | undefined;
  readonly lower: LowerView;
  readonly name: string;
  readonly parent: Merged | undefined;
  /**
   * Cached steps from here, while the layer's own folders no longer change: a folder, or a symlink's target.
   */
  readonly walked: Map<string, Merged | string> | undefined;
}

/** The inputs of the steps of a walk. */
export interface View {
  readonly top: Merged;
  readonly lowers: LowerReader;
  readonly budget: LayerBudget;
}

const maxSymlinks = 40;

export function mergedRoot(root: Folder, lowers: readonly string[]): Merged {
  const lower = root.opaque ? emptyView : viewOf(lowers.map((layer) => ({ layer, path: '' })));
  return { own: root, lower, name: '', parent: undefined, walked: undefined };
}

/**
 * Returns the same view, which caches its steps from now on. Use it only while no folder of the layer is
 * created, moved or removed. Look-ups in the layers below stay cached.
 */
export function remembering(root: Merged): Merged {
  return { ...root, walked: new Map() };
}

/** Returns the node of the layers below at `name` of `here`, unless the layer itself hides it. */
export function belowOf(here: Merged, name: string, lowers: LowerReader): LowerNode {
  const own = here.own?.children.get(name);
  if (own?.kind === 'whiteout' || (own?.kind === 'folder' && own.opaque)) return { kind: 'none' };
  return lowers.lookUp(here.lower, name);
}

/** Returns the folder `name` of `here`, with everything below it. */
export function descend(here: Merged, name: string, own: Folder | undefined, below: LowerNode): Merged {
  return {
    own,
    lower: below.kind === 'folder' ? below.view : emptyView,
    name,
    parent: here,
    walked: here.walked === undefined ? undefined : new Map(),
  };
}

/** Returns the merged view of a folder of the layer. */
export function mergedAt({ top, lowers, budget }: View, folder: Folder): Merged {
  const path: Folder[] = [];
  for (let each = folder; each.parent !== undefined; each = each.parent) path.push(each);
  budget.steps(path.length);
  let here = top;
  for (const each of path.reverse()) {
    const name = each.path.slice(each.path.lastIndexOf('/') + 1);
    here = descend(here, name, each, belowOf(here, name, lowers));
  }
  return here;
}

/**
 * Follows `path` from `from`; every symlink is followed inside the root. A folder that does not exist is
 * returned as an empty one. A folder of the layer that the archive does not list does not hide a symlink
 * below.
 * @throws IMAGES_LAYER_BAD_NAME; IMAGES_LAYER_TOO_LARGE from the budget
 */
export function walkMerged({ top, lowers, budget }: View, from: Merged, path: string): Merged {
  let here = path.startsWith('/') ? top : from;
  let followed = 0;
  const rest = path.split('/').reverse();
  for (let name = rest.pop(); name !== undefined; name = rest.pop()) {
    budget.steps(1);
    budget.goOn();
    if (name === '' || name === '.') continue;
    if (name === '..') {
      here = here.parent ?? top;
      continue;
    }
    const next = here.walked?.get(name) ?? step(here, name, lowers);
    if (typeof next !== 'string') {
      here = next;
      continue;
    }
    if (++followed > maxSymlinks)
      throw layerError('IMAGES_LAYER_BAD_NAME', printable(path), 'too many symlinks on the way');
    if (next.startsWith('/')) here = top;
    append(rest, next.split('/').reverse());
  }
  return here;
}

/** Takes one step down: returns the merged folder, or a symlink's target. */
function step(here: Merged, name: string, lowers: LowerReader): Merged | string {
  const next = nextOf(here, name, lowers);
  here.walked?.set(name, next);
  return next;
}

function nextOf(here: Merged, name: string, lowers: LowerReader): Merged | string {
  const own = here.own?.children.get(name);
  if (own?.kind === 'symlink') return own.target;
  if (own !== undefined && own.kind !== 'folder' && own.kind !== 'whiteout') throw notAFolder(name);
  const folder = own?.kind === 'folder' ? own : undefined;
  const below = belowOf(here, name, lowers);
  if (below.kind === 'other' && folder?.explicit !== true) {
    if (below.isSymlink) return readLink(below.at);
    throw notAFolder(name);
  }
  return descend(here, name, folder, below);
}

export function readLink(at: LowerFolder): string {
  return readlinkSync(nativePath(at.layer, at.path), 'latin1');
}

function notAFolder(name: string): Error {
  return layerError(
    'IMAGES_LAYER_BAD_NAME',
    printable(name),
    'a file of the layers below is at a path where the layer needs a folder',
  );
}
