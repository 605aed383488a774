import { chmodSync, linkSync, symlinkSync } from 'node:fs';
import { asBytes, makeNode, setLinkAttributes } from './layer-files.ts';
import type { LayerFolders } from './layer-folders.ts';
import { layerError } from './layer-error.ts';
import { join, resolvePlace, splitName } from './layer-tree.ts';
import { printable } from './printable.ts';
import type { File, Folder, Node, PendingLink, Place } from './layer-tree.ts';
import type { LayerBudget } from './layer-budget.ts';
import type { TarEntry } from './tar-metadata.ts';

/** Type bits of stat(2). */
const S_IFIFO = 0o010000;
const S_IFCHR = 0o020000;
const S_IFBLK = 0o060000;

/** The parts that entries without content (whiteouts, symlinks, hard links and devices) need. */
export interface LayerNodesDeps {
  readonly folders: LayerFolders;
  /** A free path on the same file system, beside the layer's folder. */
  readonly scratch: string;
  readonly budget: LayerBudget;
}

/** Creates a symlink. @throws IMAGES_LAYER_BAD_LINK, IMAGES_LAYER_TOO_LARGE */
export function addSymlink({ folders, budget }: LayerNodesDeps, place: Place, entry: TarEntry): void {
  if (entry.linkName === '')
    throw layerError('IMAGES_LAYER_BAD_LINK', printable(entry.name), 'the symlink has no target');
  folders.forgetLastParent();
  budget.keep(entry.linkName.length, entry.name);
  symlinkSync(asBytes(entry.linkName), folders.at(place));
  setLinkAttributes(folders.at(place), entry);
  place.folder.children.set(place.name, { kind: 'symlink', target: entry.linkName });
}

/**
 * Call it before an earlier entry at this place is removed. @throws IMAGES_LAYER_BAD_LINK when a hard link
 * names itself
 */
export function refuseSelfLink({ folders, budget }: LayerNodesDeps, place: Place, entry: TarEntry): void {
  const target = resolvePlace(folders.root, splitName(entry.linkName), budget);
  if (target !== undefined && target.folder === place.folder && target.name === place.name) {
    throw layerError('IMAGES_LAYER_BAD_LINK', printable(entry.name), 'the hard link names itself');
  }
}

/**
 * Creates a hard link, or keeps it as `pending-link` when the layer does not contain its target. link(2) does
 * not follow symlinks, and the tree resolved the folders of both names.
 * @throws IMAGES_LAYER_BAD_LINK, IMAGES_LAYER_TOO_LARGE
 */
export function addHardLink({ folders, budget }: LayerNodesDeps, place: Place, entry: TarEntry): void {
  const parts = splitName(entry.linkName);
  const target = resolvePlace(folders.root, parts, budget);
  const node = target?.folder.children.get(target.name);
  if (target === undefined || node === undefined || node.kind === 'pending-link') {
    budget.pendingLink(entry.name);
    budget.keep(entry.linkName.length, entry.name);
    const pending: PendingLink = {
      kind: 'pending-link',
      target: node?.kind === 'pending-link' ? node.target : parts.join('/'),
    };
    place.folder.children.set(place.name, pending);
    return;
  }
  if (node.kind === 'folder' || node.kind === 'whiteout') {
    throw layerError(
      'IMAGES_LAYER_BAD_LINK',
      printable(entry.name),
      `its target ${printable(entry.linkName)} is a ${node.kind}`,
    );
  }
  budget.path(join(target.folder, target.name));
  linkSync(folders.at(target), folders.at(place));
  place.folder.children.set(place.name, shared(node));
}

/** Creates a FIFO, or a block or character device. @throws IMAGES_LAYER_UNSUPPORTED */
export function addDevice({ folders, scratch }: LayerNodesDeps, place: Place, entry: TarEntry): void {
  const bits = entry.type === 'fifo' ? S_IFIFO : entry.type === 'block-device' ? S_IFBLK : S_IFCHR;
  // Overlayfs reads a character device 0/0 as a whiteout. An archive must express a whiteout by its name,
  // which every tool recognises.
  if (bits === S_IFCHR && entry.major === 0 && entry.minor === 0) {
    throw layerError(
      'IMAGES_LAYER_UNSUPPORTED',
      printable(entry.name),
      'overlayfs would treat a character device 0/0 as a whiteout',
    );
  }
  const node = { mode: bits | entry.mode, major: entry.major, minor: entry.minor };
  makeNode(folders.at(place), scratch, node);
  setLinkAttributes(folders.at(place), entry);
  // mknod(2) is subject to the umask; no symlink can have replaced the device here.
  chmodSync(folders.at(place), entry.mode);
  place.folder.children.set(place.name, { kind: 'device', ...node });
}

function shared(node: Exclude<Node, Folder | PendingLink>): Node {
  return node.kind === 'file' ? ({ kind: 'file', inode: node.inode } satisfies File) : node;
}
