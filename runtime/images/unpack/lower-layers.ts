import { closeSync, constants, lstatSync, opendirSync, openSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { getXattr } from '../../../base/kernel/index.ts';
import { errnoOf } from '../limits/failures.ts';
import type { LayerBudget } from './layer-budget.ts';
import { nativePath, withFolder } from './layer-files.ts';

/** One folder of one layer on disk. */
export interface LowerFolder {
  /** The layer's root, or an open folder of the layer. */
  readonly layer: string;
  /** The path below `layer`, a byte string. */
  readonly path: string;
}

/**
 * The folders that overlayfs merges at one path, top-most first, and the results of look-ups in them: the
 * layers below do not change.
 */
export interface LowerView {
  readonly folders: readonly LowerFolder[];
  readonly known: Map<string, LowerNode>;
}

/** The merged view of the layers below at one name, with the rules of overlayfs. */
export type LowerNode =
  | { readonly kind: 'none' }
  | { readonly kind: 'folder'; readonly view: LowerView }
  | { readonly kind: 'other'; readonly at: LowerFolder; readonly isSymlink: boolean };

const none: LowerNode = { kind: 'none' };
/** A view without any folder. */
export const emptyView: LowerView = { folders: [], known: new Map() };

export function viewOf(folders: readonly LowerFolder[]): LowerView {
  return { folders, known: new Map() };
}

/** Looks up names in the layers below. */
export interface LowerReader {
  /**
   * Looks up one name in merged folders, top-most first: a whiteout or an opaque folder ends the search, and
   * a node that is not a folder hides everything below. No symlink is followed. Each name of a view costs
   * system calls only once. Source: overlayfs.rst, "Merged directories".
   * @throws IMAGES_LAYER_TOO_LARGE from the budget
   */
  lookUp(view: LowerView, name: string): LowerNode;
  close(): void;
}

/** The kernel walks a path from its start at each call; a longer path starts at an open folder instead. */
const anchorAfter = 128;
const mostAnchors = 512;

export function createLowerReader(budget: LayerBudget): LowerReader {
  const anchors: number[] = [];

  function search(folders: readonly LowerFolder[], name: string): LowerNode {
    const merged: LowerFolder[] = [];
    for (const folder of folders) {
      const at: LowerFolder = {
        layer: folder.layer,
        path: folder.path === '' ? name : `${folder.path}/${name}`,
      };
      budget.lookUp(at.path);
      const stats = statOf(at);
      if (stats === undefined) continue;
      if (stats.isCharacterDevice() && stats.rdev === 0) break;
      if (!stats.isDirectory()) {
        if (merged.length === 0) return { kind: 'other', at, isSymlink: stats.isSymbolicLink() };
        break;
      }
      const found = anchored(at);
      merged.push(found);
      if (isOpaque(found)) break;
    }
    return merged.length === 0 ? none : { kind: 'folder', view: viewOf(merged) };
  }

  function anchored(at: LowerFolder): LowerFolder {
    if (at.path.length < anchorAfter || anchors.length >= mostAnchors) return at;
    const fd = openSync(
      nativePath(at.layer, at.path),
      constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW,
    );
    anchors.push(fd);
    // The final dot is needed because the name of a descriptor is a symlink, and folders are opened without
    // following symlinks.
    return { layer: `/proc/self/fd/${fd}/.`, path: '' };
  }

  return {
    lookUp(view, name) {
      if (view.folders.length === 0) return none;
      const known = view.known.get(name);
      if (known !== undefined) return known;
      const found = search(view.folders, name);
      view.known.set(name, found);
      return found;
    },
    close() {
      for (const fd of anchors.splice(0)) closeSync(fd);
    },
  };
}

/** Returns the names in the roots of layers, hidden ones too. @throws IMAGES_LAYER_TOO_LARGE */
export function namesOfRoots(roots: readonly string[], budget: LayerBudget): Set<string> {
  const names = new Set<string>();
  for (const root of roots) {
    const folder = opendirSync(root, { encoding: 'latin1' });
    try {
      for (let entry = folder.readSync(); entry !== null; entry = folder.readSync()) {
        budget.lookUp(entry.name);
        names.add(entry.name);
      }
    } finally {
      folder.closeSync();
    }
  }
  return names;
}

function statOf(at: LowerFolder): Stats | undefined {
  try {
    // A missing file is the common case, and an exception costs more than the call.
    return lstatSync(nativePath(at.layer, at.path), { throwIfNoEntry: false });
  } catch (thrown) {
    // A path that is too long for the kernel is in no layer.
    const errno = errnoOf(thrown);
    if (errno === 'ENOENT' || errno === 'ENOTDIR' || errno === 'ENAMETOOLONG') return undefined;
    throw thrown;
  }
}

/** By descriptor: the name itself may not be UTF-8. */
function isOpaque(at: LowerFolder): boolean {
  return withFolder(
    nativePath(at.layer, at.path),
    (fd) => getXattr(`/proc/self/fd/${fd}`, 'trusted.overlay.opaque', { follow: true })?.[0] === 0x79,
  );
}
