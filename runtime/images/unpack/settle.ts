import { fstatSync, linkSync, renameSync, rmdirSync } from 'node:fs';
import { copyUp, keptXattrs } from './copy-up.ts';
import { nativePath, withFolder } from './layer-files.ts';
import { layerError } from './layer-error.ts';
import { join, printable } from './layer-tree.ts';
import type { Folder, Node, PendingLink, Place } from './layer-tree.ts';
import type { LayerWriter } from './layer-writer.ts';
import { lookUpLower } from './lower-layers.ts';
import type { LowerFolder } from './lower-layers.ts';
import { belowOf, mergedRoot, readLink, walkMerged } from './merged-view.ts';
import type { Merged } from './merged-view.ts';

/*
 * Answers what one layer archive leaves open, from the layers below it: attributes of folders that the archive does not
 * list, entries whose folder is a symlink below, hard links to files below. Peers get the same by applying the archive on
 * the merged mount; here layers are written side by side and settled afterwards.
 */

/** Moving entries through a symlink below restarts the walk: bounded. */
const maxRelocations = 1000;

/** A layer with open questions depends on those below it: it is stored by chain id instead of diff id. */
export function hasOpenQuestions(root: Folder): boolean {
  return someNode(root, (node) => node.kind === 'pending-link' || (node.kind === 'folder' && !node.explicit));
}

/** The hard links whose target the layer does not hold. */
function pendingLinks(root: Folder): { readonly place: Place; readonly link: PendingLink }[] {
  const found: { place: Place; link: PendingLink }[] = [];
  someNode(root, (link, place) => {
    if (link.kind === 'pending-link') found.push({ place, link });
    return false;
  });
  return found;
}

function someNode(root: Folder, test: (node: Node, place: Place) => boolean): boolean {
  const stack: Folder[] = [root];
  for (let folder = stack.pop(); folder !== undefined; folder = stack.pop()) {
    for (const [name, node] of folder.children) {
      if (test(node, { folder, name })) return true;
      if (node.kind === 'folder') stack.push(node);
    }
  }
  return false;
}

/**
 * Settles the layer that `writer` has written, before its folders get their attributes.
 * @param lowers roots of the layers below, top-most first; with none, a hard link to a missing file is an error
 */
export function settle(writer: LayerWriter, layer: string, scratch: string, lowers: readonly string[]): void {
  const top = mergedRoot(writer.root, lowers);
  for (let count = 0; settleFolders(writer, layer, top); count++) {
    if (count === maxRelocations) throw layerError('IMAGES_LAYER_UNSUPPORTED', 'layer', 'too many of its folders are symlinks below');
  }
  const copies = new Map<string, Place>();
  for (const { place, link } of pendingLinks(writer.root)) settleLink(place, link, top, layer, scratch, copies);
}

/** True when an entry was moved: the tree has changed under the walk, which must begin again. */
function settleFolders(writer: LayerWriter, layer: string, top: Merged): boolean {
  const stack: Merged[] = [top];
  for (let here = stack.pop(); here !== undefined; here = stack.pop()) {
    for (const [name, node] of here.own?.children ?? []) {
      if (node.kind !== 'folder') continue;
      const below = belowOf(here, name);
      if (!node.explicit && below.kind === 'other' && below.stats.isSymbolicLink()) {
        relocate(writer, layer, top, here, name, node, readLink(below.at));
        return true;
      }
      if (below.kind === 'folder') inherit(node, below.folders[0]);
      stack.push({ own: node, lower: below.kind === 'folder' ? below.folders : [], name, parent: here });
    }
  }
  return false;
}

/** A folder that the archive does not list has the attributes of the one below. */
function inherit(folder: Folder, from: LowerFolder | undefined): void {
  if (folder.explicit || from === undefined) return;
  withFolder(nativePath(from.layer, from.path), (fd) => {
    const stats = fstatSync(fd);
    folder.explicit = true;
    folder.mode = stats.mode & 0o7777;
    folder.uid = stats.uid;
    folder.gid = stats.gid;
    folder.mtime = stats.mtimeMs / 1000;
    folder.xattrs = keptXattrs(fd);
  });
}

/** Moves what was written below a folder that is a symlink in the layers below to where that symlink leads. */
function relocate(writer: LayerWriter, layer: string, top: Merged, parent: Merged, name: string, folder: Folder, target: string): void {
  const destination = ensureOwn(writer, walkMerged(top, parent, target));
  for (let above: Folder | undefined = destination; above !== undefined; above = above.parent) {
    if (above === folder) throw layerError('IMAGES_LAYER_BAD_LINK', printable(folder.path), 'the symlink below leads into itself');
  }
  moveChildren(writer, layer, folder, destination);
  rmdirSync(nativePath(layer, folder.path));
  parent.own?.children.delete(name);
}

function moveChildren(writer: LayerWriter, layer: string, from: Folder, to: Folder): void {
  for (const [name, node] of [...from.children]) {
    const there = to.children.get(name);
    if (there !== undefined && !(there.kind === 'folder' && node.kind === 'folder')) {
      throw layerError(
        'IMAGES_LAYER_BAD_NAME',
        printable(join(from, name)),
        'two entries of the layer lead to one name through a symlink below',
      );
    }
    if (node.kind === 'folder') {
      // Folders know their path: they are made anew and their content is moved.
      const made = there?.kind === 'folder' ? there : writer.makeFolder(to, name);
      if (node.explicit) {
        const { explicit, mode, uid, gid, mtime, xattrs } = node;
        Object.assign(made, { explicit, mode, uid, gid, mtime, xattrs });
      }
      if (node.opaque) writer.makeOpaque(made);
      moveChildren(writer, layer, node, made);
      rmdirSync(nativePath(layer, node.path));
    } else {
      if (node.kind !== 'pending-link') renameSync(nativePath(layer, join(from, name)), nativePath(layer, join(to, name)));
      to.children.set(name, node);
    }
    from.children.delete(name);
  }
}

/** The layer's own folder at a place of the merged view, made where it is missing. */
function ensureOwn(writer: LayerWriter, place: Merged): Folder {
  if (place.own !== undefined) return place.own;
  const parent = place.parent === undefined ? writer.root : ensureOwn(writer, place.parent);
  const existing = parent.children.get(place.name);
  const folder = existing?.kind === 'folder' ? existing : writer.makeFolder(parent, place.name);
  inherit(folder, place.lower[0]);
  return folder;
}

function settleLink(place: Place, link: PendingLink, top: Merged, layer: string, scratch: string, copies: Map<string, Place>): void {
  const path = nativePath(layer, join(place.folder, place.name));
  const slash = link.target.lastIndexOf('/');
  const name = link.target.slice(slash + 1);
  const parent = walkMerged(top, top, slash === -1 ? '' : link.target.slice(0, slash));
  const own = copies.get(link.target) ?? (parent.own?.children.has(name) === true ? { folder: parent.own, name } : undefined);
  const node = own?.folder.children.get(own.name);
  if (own !== undefined && node !== undefined) {
    if (node.kind === 'pending-link' || node.kind === 'whiteout' || node.kind === 'folder') throw dangling(place, link);
    linkSync(nativePath(layer, join(own.folder, own.name)), path);
    place.folder.children.set(place.name, node.kind === 'file' ? { kind: 'file', inode: node.inode } : node);
    return;
  }
  const below = lookUpLower(parent.lower, name);
  if (below.kind !== 'other') throw dangling(place, link);
  place.folder.children.set(place.name, copyUp(below.at, path, scratch));
  copies.set(link.target, place);
}

function dangling(place: Place, link: PendingLink): Error {
  const name = printable(join(place.folder, place.name));
  return layerError('IMAGES_LAYER_BAD_LINK', name, `its target ${printable(link.target)} is no file of this layer or those below`);
}
