import { fstatSync } from 'node:fs';
import { keptXattrs } from '../unpack/copy-up.ts';
import type { LayerBudget } from '../unpack/layer-budget.ts';
import { layerError } from '../unpack/layer-error.ts';
import { fileTime, nativePath, withFolder } from '../unpack/layer-files.ts';
import { createLowerReader } from '../unpack/lower-layers.ts';
import type { LowerFolder } from '../unpack/lower-layers.ts';
import {
  belowOf,
  descend,
  mergedAt,
  mergedRoot,
  readLink,
  remembering,
  walkMerged,
} from '../unpack/merged-view.ts';
import type { Merged, View } from '../unpack/merged-view.ts';
import { printable } from '../unpack/printable.ts';
import { copyUp } from './copy-up.ts';
import type { ContentWriter } from './copy-up.ts';
import { asLayerFolder, asTreeFolder, eachFolder, pathOf } from './tree.ts';
import type { TreeFolder, TreePlace } from './tree.ts';
import type { TreeWriter } from './tree-writer.ts';

/*
 * Resolves, from the layers below, everything that one layer archive leaves open, as `../unpack/settle.ts`
 * does for a layer on disk: attributes of folders that the archive does not list, entries whose folder is a
 * symlink below, hard links to files below. Here only the tree changes, and copied content goes to the layer
 * file.
 */

/** Folders of one layer that are symlinks below: a real layer has a few (`/bin`, `/lib`, `/var/run`). */
const maxRelocations = 1000;

/** The inputs for settling a layer. */
interface Settling extends View {
  readonly writer: TreeWriter;
  readonly content: ContentWriter;
}

/**
 * Settles the tree that `writer` has built.
 * @param roots of the layers below, top-most first: their folders, or the roots of their mounts. With none, a
 * hard link to a missing file is an error.
 * @throws IMAGES_LAYER_BAD_LINK, IMAGES_LAYER_BAD_NAME, IMAGES_LAYER_UNSUPPORTED, IMAGES_LAYER_TOO_LARGE
 */
export function settleTree(
  writer: TreeWriter,
  content: ContentWriter,
  budget: LayerBudget,
  roots: readonly string[],
): void {
  const lowers = createLowerReader(budget);
  try {
    const settling: Settling = {
      writer,
      content,
      budget,
      lowers,
      top: mergedRoot(asLayerFolder(writer.root), roots),
    };
    settleFolders(settling);
    // From here on the layer's folders stay unchanged.
    settleLinks({ ...settling, top: remembering(settling.top) });
  } finally {
    lowers.close();
  }
}

/**
 * Returns the folders that the archive does not list, and all folders above them: open questions exist only
 * below these.
 */
function openFolders(root: TreeFolder, budget: LayerBudget): Set<TreeFolder> {
  const open = new Set<TreeFolder>([root]);
  eachFolder(root, (folder) => {
    budget.goOn();
    if (folder.explicit) return;
    for (let each: TreeFolder | undefined = folder; each !== undefined && !open.has(each); each = each.parent)
      open.add(each);
  });
  return open;
}

const ownOf = (here: Merged): TreeFolder | undefined =>
  here.own === undefined ? undefined : asTreeFolder(here.own);

/** A folder of the layer to walk: all of it, or the names that were just moved there. */
interface Walk {
  readonly here: Merged;
  readonly names: Iterable<string> | undefined;
}

function settleFolders(settling: Settling): void {
  const { writer, budget, lowers, top } = settling;
  const open = openFolders(writer.root, budget);
  let relocations = 0;
  const stack: Walk[] = [{ here: top, names: undefined }];
  for (let walk = stack.pop(); walk !== undefined; walk = stack.pop()) {
    const { here } = walk;
    for (const name of walk.names ?? ownOf(here)?.children.keys() ?? []) {
      const node = ownOf(here)?.children.get(name);
      budget.goOn();
      if (node?.kind !== 'folder' || (walk.names === undefined && node.explicit && !open.has(node))) continue;
      budget.steps(1);
      const below = belowOf(here, name, lowers);
      if (!node.explicit && below.kind === 'other' && below.isSymlink) {
        if (++relocations > maxRelocations)
          throw layerError(
            'IMAGES_LAYER_UNSUPPORTED',
            'layer',
            'too many of its folders are symlinks in the layers below',
          );
        stack.push(relocate(settling, here, name, node, readLink(below.at), open));
        continue;
      }
      if (below.kind === 'folder') inherit(writer, node, below.view.folders[0]);
      stack.push({ here: descend(here, name, asLayerFolder(node), below), names: undefined });
    }
  }
}

/** A folder that the archive does not list has the attributes of the folder below. */
function inherit(writer: TreeWriter, folder: TreeFolder, from: LowerFolder | undefined): void {
  if (folder.explicit || from === undefined) return;
  withFolder(nativePath(from.layer, from.path), (fd) => {
    const { mode, uid, gid } = fstatSync(fd);
    const { mtimeNs } = fstatSync(fd, { bigint: true });
    const xattrs = writer.xattrs.keep(keptXattrs(fd), folder.path);
    Object.assign(folder, {
      explicit: true,
      mode: mode & 0o7777,
      uid,
      gid,
      mtime: fileTime(mtimeNs),
      xattrs,
    });
  });
}

/**
 * Takes the entries below a folder that is a symlink in the layers below, and moves them to the target of
 * that symlink. Returns the folders to walk: the moved names may again be symlinks below.
 */
function relocate(
  settling: Settling,
  parent: Merged,
  name: string,
  folder: TreeFolder,
  target: string,
  open: Set<TreeFolder>,
): Walk {
  const destination = ensureOwn(settling, walkMerged(settling, parent, target), open);
  for (let above: TreeFolder | undefined = destination; above !== undefined; above = above.parent) {
    if (above === folder)
      throw layerError(
        'IMAGES_LAYER_BAD_LINK',
        printable(folder.path),
        'the symlink below leads into itself',
      );
  }
  const names = [...folder.children.keys()];
  moveChildren(settling, folder, destination, open);
  ownOf(parent)?.children.delete(name);
  return { here: mergedAt(settling, asLayerFolder(destination)), names };
}

function moveChildren(settling: Settling, from: TreeFolder, to: TreeFolder, open: Set<TreeFolder>): void {
  const { writer, budget } = settling;
  for (const [name, node] of [...from.children]) {
    budget.move();
    const there = to.children.get(name);
    if (there !== undefined && !(there.kind === 'folder' && node.kind === 'folder')) {
      const why = 'two entries of the layer lead to one name through a symlink below';
      throw layerError('IMAGES_LAYER_BAD_NAME', printable(pathOf(from, name)), why);
    }
    if (node.kind === 'folder') {
      // A folder knows its path: a new one is created there, and the content moves.
      const made = there?.kind === 'folder' ? there : writer.makeFolder(to, name);
      open.add(made);
      if (node.explicit) {
        const { explicit, mode, uid, gid, mtime, xattrs } = node;
        Object.assign(made, { explicit, mode, uid, gid, mtime, xattrs });
      }
      if (node.opaque) made.opaque = true;
      moveChildren(settling, node, made, open);
    } else {
      to.children.set(name, node);
    }
    from.children.delete(name);
  }
}

/** Returns the layer's own folder at a place of the merged view; creates it when it is missing. */
function ensureOwn(settling: Settling, place: Merged, open: Set<TreeFolder>): TreeFolder {
  const { writer } = settling;
  const own = ownOf(place);
  if (own !== undefined) return own;
  const parent = place.parent === undefined ? writer.root : ensureOwn(settling, place.parent, open);
  const existing = parent.children.get(place.name);
  const folder = existing?.kind === 'folder' ? existing : writer.makeFolder(parent, place.name);
  open.add(folder);
  inherit(writer, folder, place.lower.folders[0]);
  return folder;
}

/** The state while hard links are settled. */
interface LinkWalk extends Settling {
  /** Folders of targets, by their name as the archive writes it. */
  readonly parents: Map<string, Merged>;
  /** Files that were copied from the layers below, by the target's name. */
  readonly copies: Map<string, TreePlace>;
}

function settleLinks(settling: Settling): void {
  const links: LinkWalk = { ...settling, parents: new Map(), copies: new Map() };
  const pending: { readonly place: TreePlace; readonly target: string }[] = [];
  eachFolder(settling.writer.root, (folder) => {
    for (const [name, node] of folder.children) {
      settling.budget.goOn();
      if (node.kind === 'pending-link') pending.push({ place: { folder, name }, target: node.target });
    }
  });
  for (const { place, target } of pending) settleLink(links, place, target);
}

function settleLink(links: LinkWalk, place: TreePlace, target: string): void {
  const { budget, lowers, writer } = links;
  const slash = target.lastIndexOf('/');
  const name = target.slice(slash + 1);
  const parent = targetFolder(links, slash === -1 ? '' : target.slice(0, slash));
  const ownParent = ownOf(parent);
  const own =
    links.copies.get(target) ??
    (ownParent?.children.has(name) === true ? { folder: ownParent, name } : undefined);
  const node = own?.folder.children.get(own.name);
  if (own !== undefined && node !== undefined) {
    if (node.kind === 'pending-link' || node.kind === 'whiteout' || node.kind === 'folder')
      throw dangling(place, target);
    budget.path(pathOf(own.folder, own.name));
    place.folder.children.set(place.name, node);
    return;
  }
  const below = lowers.lookUp(parent.lower, name);
  if (below.kind !== 'other') throw dangling(place, target);
  place.folder.children.set(
    place.name,
    copyUp(below.at, { content: links.content, xattrs: writer.xattrs, budget }),
  );
  links.copies.set(target, place);
}

function targetFolder(links: LinkWalk, path: string): Merged {
  links.budget.goOn();
  let folder = links.parents.get(path);
  if (folder === undefined) {
    folder = walkMerged(links, links.top, path);
    links.parents.set(path, folder);
  }
  return folder;
}

function dangling(place: TreePlace, target: string): Error {
  const name = printable(pathOf(place.folder, place.name));
  return layerError(
    'IMAGES_LAYER_BAD_LINK',
    name,
    `its target ${printable(target)} is no file of this layer or those below`,
  );
}
