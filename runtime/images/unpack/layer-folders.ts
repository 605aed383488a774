import { chmodSync, rmdirSync, unlinkSync } from 'node:fs';
import { makeFolder, setFileTime, nativePath, setAttributes, setOpaque, withFolder } from './layer-files.ts';
import { createEntryPlaces } from './entry-paths.ts';
import type { EntryPlaces } from './entry-paths.ts';
import { join, newFolder } from './layer-tree.ts';
import type { Folder, Place } from './layer-tree.ts';
import type { LayerBudget } from './layer-budget.ts';
import type { TarEntry } from './tar-metadata.ts';

/** The memory that an extended attribute takes in addition to its bytes. */
const xattrOverhead = 256;

/** The folders of one layer, in memory and in its staging folder: both always agree. */
export interface LayerFolders extends EntryPlaces {
  readonly root: Folder;
  /** Returns the path of a place on the disk. */
  at(place: Place): string | Buffer;
  /** Returns the folder at a place. Creates it if the place has none, in place of any other node. */
  folderAt(place: Place): Folder;
  /** Creates a folder on the way to an entry: the archive may describe it later. */
  listedLater(parent: Folder, name: string): Folder;
  makeOpaque(target: Folder): void;
  /** Removes the result of an earlier entry: the last entry wins, whatever its type. */
  clear(place: Place): void;
  /** Sets folder attributes last: writing into a folder changes its time. */
  finish(): void;
}

/** @param folder the staging folder of the layer, which is empty */
export function createLayerFolders(folder: string, budget: LayerBudget): LayerFolders {
  const root = newFolder(undefined, '');
  const at = (place: Place): string | Buffer => nativePath(folder, join(place.folder, place.name));

  const { placeOf, forgetLastParent } = createEntryPlaces(root, budget, listedLater);

  function listedLater(parent: Folder, name: string): Folder {
    budget.folder(join(parent, name));
    return implicitFolder(parent, name);
  }

  function implicitFolder(parent: Folder, name: string): Folder {
    const hides = parent.children.get(name)?.kind === 'whiteout';
    if (hides) unlinkSync(nativePath(folder, join(parent, name)));
    const made = newFolder(parent, name);
    budget.keep(made.path.length, made.path);
    const path = nativePath(folder, made.path);
    makeFolder(path);
    chmodSync(path, made.mode);
    parent.children.set(name, made);
    if (hides) makeOpaque(made);
    return made;
  }

  function folderAt(place: Place): Folder {
    const existing = place.folder.children.get(place.name);
    if (existing?.kind === 'folder') return existing;
    if (existing !== undefined && existing.kind !== 'whiteout') clear(place);
    return implicitFolder(place.folder, place.name);
  }

  function makeOpaque(target: Folder): void {
    if (target.opaque) return;
    target.opaque = true;
    setOpaque(nativePath(folder, target.path));
  }

  function clear(place: Place): void {
    const existing = place.folder.children.get(place.name);
    if (existing === undefined) return;
    if (existing.kind === 'folder') {
      forgetLastParent();
      removeTree(folder, existing, budget);
    } else if (existing.kind !== 'pending-link') {
      if (existing.kind === 'symlink') forgetLastParent();
      unlinkSync(at(place));
    }
    place.folder.children.delete(place.name);
  }

  function finish(): void {
    finishFolders(folder, root, budget);
  }

  return { root, at, placeOf, folderAt, listedLater, makeOpaque, clear, forgetLastParent, finish };
}

/** Gives a folder the attributes of its entry; {@link LayerFolders.finish} writes them to the disk. */
export function describe(target: Folder, entry: TarEntry, budget: LayerBudget): void {
  target.explicit = true;
  target.mode = entry.mode;
  target.uid = entry.uid;
  target.gid = entry.gid;
  target.mtime = entry.mtime;
  target.xattrs = entry.xattrs;
  keepXattrs(target, budget);
}

/**
 * Counts a folder's extended attributes, which stay in memory until the end. @throws IMAGES_LAYER_TOO_LARGE
 */
export function keepXattrs(target: Folder, budget: LayerBudget): void {
  for (const [name, value] of target.xattrs ?? [])
    budget.keep(name.length + value.length + xattrOverhead, target.path);
}

/** Removes a folder with everything that this layer wrote there; the removal can be cancelled. */
function removeTree(layer: string, target: Folder, budget: LayerBudget): void {
  const order: Folder[] = [];
  const stack: Folder[] = [target];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    order.push(next);
    for (const [name, node] of next.children) {
      budget.goOn();
      if (node.kind === 'folder') stack.push(node);
      else if (node.kind !== 'pending-link') unlinkSync(nativePath(layer, join(next, name)));
    }
  }
  for (const each of order.reverse()) {
    budget.goOn();
    rmdirSync(nativePath(layer, each.path));
  }
}

function finishFolders(layer: string, root: Folder, budget: LayerBudget): void {
  // An explicit stack: a deep archive must not exhaust the call stack.
  const order: Folder[] = [];
  const stack: Folder[] = [root];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    order.push(next);
    for (const child of next.children.values()) if (child.kind === 'folder') stack.push(child);
  }
  for (const each of order.reverse()) {
    budget.goOn();
    if (!each.explicit) continue;
    withFolder(nativePath(layer, each.path), (fd) => {
      setAttributes(fd, each);
      setFileTime(fd, each.mtime);
    });
  }
}
