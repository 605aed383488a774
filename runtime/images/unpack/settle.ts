import { nativePath, withFolder } from './layer-files.ts';
import { layerError } from './layer-error.ts';
import { join } from './layer-tree.ts';
import { printable } from './printable.ts';
import type { Folder, Node, PendingLink, Place } from './layer-tree.ts';
import type { LayerBudget } from './layer-budget.ts';
import { createLowerReader, namesOfRoots, viewOf } from './lower-layers.ts';
import type { LowerFolder } from './lower-layers.ts';
import { belowOf, descend, mergedAt, mergedRoot, readLink, remembering, walkMerged } from './merged-view.ts';
import type { Merged, View } from './merged-view.ts';

/*
 * Resolves with the layers below everything that one layer archive leaves open: attributes of folders that
 * the archive does not list, entries whose folder is a symlink below, hard links to files below, and the
 * names that an opaque root hides. Other runtimes get the same result by applying the archive to the merged
 * mount; here layers are written in parallel and settled afterwards. The rules are the same for both forms of
 * layers.
 */

/** Folders of one layer that are symlinks below: a real layer has a few (`/bin`, `/lib`, `/var/run`). */
const maxRelocations = 1000;

/**
 * A layer with open questions depends on the layers below it: it is stored by chain id instead of diff id.
 */
export function hasOpenQuestions(root: Folder, budget: LayerBudget): boolean {
  return (
    root.opaque ||
    someNode(
      root,
      budget,
      (node) => node.kind === 'pending-link' || (node.kind === 'folder' && !node.explicit),
    )
  );
}

/** Returns the hard links whose target the layer does not contain. */
function pendingLinks(
  root: Folder,
  budget: LayerBudget,
): { readonly place: Place; readonly link: PendingLink }[] {
  const found: { place: Place; link: PendingLink }[] = [];
  someNode(root, budget, (link, place) => {
    if (link.kind === 'pending-link') found.push({ place, link });
    return false;
  });
  return found;
}

function someNode(root: Folder, budget: LayerBudget, test: (node: Node, place: Place) => boolean): boolean {
  const stack: Folder[] = [root];
  for (let folder = stack.pop(); folder !== undefined; folder = stack.pop()) {
    for (const [name, node] of folder.children) {
      budget.goOn();
      if (test(node, { folder, name })) return true;
      if (node.kind === 'folder') stack.push(node);
    }
  }
  return false;
}

/**
 * Removes the whiteouts in and below opaque folders. They hide nothing more, and overlayfs shows a whiteout
 * in a folder that it does not merge: as a name that is listed, but that no file has. overlayfs merges the
 * roots of all layers, also an opaque one.
 * @param remove removes what the form has in addition to the tree
 */
export function dropHiddenWhiteouts(root: Folder, budget: LayerBudget, remove: (place: Place) => void): void {
  const stack = [{ folder: root, isHidden: false }];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const { folder, isHidden } = next;
    for (const [name, node] of folder.children) {
      budget.goOn();
      if (node.kind === 'folder') stack.push({ folder: node, isHidden: isHidden || node.opaque });
      if (node.kind !== 'whiteout' || !isHidden) continue;
      remove({ folder, name });
      folder.children.delete(name);
    }
  }
}

/** The form in which a layer is written: its tree, and how a change of the tree is applied. */
export interface SettledForm {
  readonly root: Folder;
  /** Creates a folder that the archive does not list. @throws IMAGES_LAYER_TOO_LARGE */
  makeFolder(parent: Folder, name: string): Folder;
  /** Hides what the layers below have in the folder. */
  makeOpaque(folder: Folder): void;
  /** Hides what the layers below have at a name that the layer does not use. Returns the node for it. */
  hide(place: Place): Node;
  /** Gives a folder the attributes of an open folder of a layer below. @throws IMAGES_LAYER_TOO_LARGE */
  inherit(folder: Folder, fd: number): void;
  /** Moves a node that is not a folder. The tree is changed by the caller. */
  move(from: Folder, to: Folder, name: string, node: Node): void;
  /** Removes an empty folder. The tree is changed by the caller. */
  removeFolder(folder: Folder): void;
  /** Gives a node of the layer another name, and returns the node for that name. */
  link(own: Place, node: Node, place: Place): Node;
  /** Copies a file of a layer below to a name, and returns the node for it. */
  copyUp(below: LowerFolder, place: Place): Node;
}

/** The inputs for settling a layer. */
interface Settling extends View {
  readonly form: SettledForm;
}

/**
 * Settles a layer, before its folders get their attributes.
 * @param roots of the layers below, top-most first: their folders, or the roots of their mounts; without
 * layers below, a hard link to a missing file is an error
 * @throws IMAGES_LAYER_BAD_LINK, IMAGES_LAYER_BAD_NAME, IMAGES_LAYER_UNSUPPORTED, IMAGES_LAYER_TOO_LARGE
 */
export function settle(form: SettledForm, budget: LayerBudget, roots: readonly string[]): void {
  const lowers = createLowerReader(budget);
  try {
    const settling: Settling = { form, budget, lowers, top: mergedRoot(form.root, roots) };
    if (form.root.opaque) hideBelowRoot(settling, roots);
    settleFolders(settling);
    // From here on the layer's folders stay unchanged.
    const links: LinkWalk = {
      ...settling,
      top: remembering(settling.top),
      parents: new Map(),
      copies: new Map(),
    };
    for (const { place, link } of pendingLinks(form.root, budget)) settleLink(links, place, link);
  } finally {
    lowers.close();
  }
}

/**
 * Hides each name of the layers below by itself: overlayfs merges the roots of all layers, also an opaque
 * one.
 */
function hideBelowRoot({ form, budget, lowers }: Settling, roots: readonly string[]): void {
  const { root } = form;
  const below = viewOf(roots.map((layer) => ({ layer, path: '' })));
  for (const name of namesOfRoots(roots, budget)) {
    const own = root.children.get(name);
    if ((own !== undefined && own.kind !== 'folder') || lowers.lookUp(below, name).kind === 'none') continue;
    if (own !== undefined) form.makeOpaque(own);
    else {
      budget.folder(name);
      root.children.set(name, form.hide({ folder: root, name }));
    }
  }
}

/**
 * Returns the folders that the archive does not list, and all folders above them: open questions exist only
 * below these.
 */
function openFolders(root: Folder, budget: LayerBudget): Set<Folder> {
  const open = new Set<Folder>([root]);
  someNode(root, budget, (node) => {
    if (node.kind !== 'folder' || node.explicit) return false;
    for (let each: Folder | undefined = node; each !== undefined && !open.has(each); each = each.parent)
      open.add(each);
    return false;
  });
  return open;
}

/** A folder of the layer to walk: all of it, or the names that were just moved there. */
interface Walk {
  readonly here: Merged;
  readonly names: Iterable<string> | undefined;
}

function settleFolders(settling: Settling): void {
  const { form, budget, lowers, top } = settling;
  const open = openFolders(form.root, budget);
  let relocations = 0;
  const stack: Walk[] = [{ here: top, names: undefined }];
  for (let walk = stack.pop(); walk !== undefined; walk = stack.pop()) {
    const { here } = walk;
    for (const name of walk.names ?? here.own?.children.keys() ?? []) {
      const node = here.own?.children.get(name);
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
      if (below.kind === 'folder') inherit(form, node, below.view.folders[0]);
      stack.push({ here: descend(here, name, node, below), names: undefined });
    }
  }
}

/** A folder that the archive does not list gets the attributes of the folder below. */
function inherit(form: SettledForm, folder: Folder, from: LowerFolder | undefined): void {
  if (folder.explicit || from === undefined) return;
  withFolder(nativePath(from.layer, from.path), (fd) => form.inherit(folder, fd));
}

/**
 * Takes the entries that were written below a folder that is a symlink in the layers below, and moves them to
 * the target of that symlink. Returns the folders to walk: the moved names may again be symlinks below.
 */
function relocate(
  settling: Settling,
  parent: Merged,
  name: string,
  folder: Folder,
  target: string,
  open: Set<Folder>,
): Walk {
  const destination = ensureOwn(settling, walkMerged(settling, parent, target), open);
  for (let above: Folder | undefined = destination; above !== undefined; above = above.parent) {
    if (above === folder)
      throw layerError(
        'IMAGES_LAYER_BAD_LINK',
        printable(folder.path),
        'the symlink below leads into itself',
      );
  }
  const names = [...folder.children.keys()];
  moveChildren(settling, folder, destination, open);
  settling.form.removeFolder(folder);
  parent.own?.children.delete(name);
  return { here: mergedAt(settling, destination), names };
}

function moveChildren(settling: Settling, from: Folder, to: Folder, open: Set<Folder>): void {
  const { form, budget } = settling;
  for (const [name, node] of [...from.children]) {
    budget.move();
    const there = to.children.get(name);
    if (there !== undefined && !(there.kind === 'folder' && node.kind === 'folder')) {
      throw layerError(
        'IMAGES_LAYER_BAD_NAME',
        printable(join(from, name)),
        'two entries of the layer lead to one name through a symlink below',
      );
    }
    if (node.kind === 'folder') {
      // A folder knows its path: a new one is created there, and the content moves.
      const made = there?.kind === 'folder' ? there : form.makeFolder(to, name);
      open.add(made);
      if (node.explicit) {
        const { explicit, mode, uid, gid, mtime, xattrs } = node;
        Object.assign(made, { explicit, mode, uid, gid, mtime, xattrs });
      }
      if (node.opaque) form.makeOpaque(made);
      moveChildren(settling, node, made, open);
      form.removeFolder(node);
    } else {
      form.move(from, to, name, node);
      to.children.set(name, node);
    }
    from.children.delete(name);
  }
}

/** Returns the layer's own folder at a place of the merged view; creates it when it is missing. */
function ensureOwn(settling: Settling, place: Merged, open: Set<Folder>): Folder {
  const { form } = settling;
  if (place.own !== undefined) return place.own;
  const parent = place.parent === undefined ? form.root : ensureOwn(settling, place.parent, open);
  const existing = parent.children.get(place.name);
  const folder = existing?.kind === 'folder' ? existing : form.makeFolder(parent, place.name);
  open.add(folder);
  inherit(form, folder, place.lower.folders[0]);
  return folder;
}

/** The state while hard links are settled. */
interface LinkWalk extends Settling {
  /** Folders of link targets, by their name in the archive. */
  readonly parents: Map<string, Merged>;
  /** Files that were copied from the layers below, by the target's name. */
  readonly copies: Map<string, Place>;
}

function settleLink(links: LinkWalk, place: Place, link: PendingLink): void {
  const { form, budget, lowers } = links;
  const slash = link.target.lastIndexOf('/');
  const name = link.target.slice(slash + 1);
  const parent = targetFolder(links, slash === -1 ? '' : link.target.slice(0, slash));
  const own =
    links.copies.get(link.target) ??
    (parent.own?.children.has(name) === true ? { folder: parent.own, name } : undefined);
  const node = own?.folder.children.get(own.name);
  if (own !== undefined && node !== undefined) {
    if (node.kind === 'pending-link' || node.kind === 'whiteout' || node.kind === 'folder')
      throw dangling(place, link);
    budget.path(join(own.folder, own.name));
    place.folder.children.set(place.name, form.link(own, node, place));
    return;
  }
  const below = lowers.lookUp(parent.lower, name);
  if (below.kind !== 'other') throw dangling(place, link);
  place.folder.children.set(place.name, form.copyUp(below.at, place));
  links.copies.set(link.target, place);
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

function dangling(place: Place, link: PendingLink): Error {
  const name = printable(join(place.folder, place.name));
  return layerError(
    'IMAGES_LAYER_BAD_LINK',
    name,
    `its target ${printable(link.target)} is not a file of this layer or those below`,
  );
}
