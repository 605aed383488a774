import { S_IFBLK, S_IFCHR, S_IFIFO } from '../../../base/kernel/index.ts';
import type { LayerBudget } from '../unpack/layer-budget.ts';
import { createEntryPlaces } from '../unpack/entry-paths.ts';
import { layerError } from '../unpack/layer-error.ts';
import { fileTime } from '../unpack/layer-files.ts';
import { splitName } from '../unpack/layer-tree.ts';
import { isWhiteout, readWhiteout } from '../unpack/whiteouts.ts';
import { printable } from '../unpack/printable.ts';
import { fileSize } from '../unpack/tar-metadata.ts';
import type { TarEntry } from '../unpack/tar-metadata.ts';
import type { TarSink } from '../unpack/tar-reader.ts';
import { maxTargetBytes } from './format.ts';
import { asLayerFolder, asTreeFolder, newTreeFolder, newWhiteout, pathOf, placeIn } from './tree.ts';
import type { Inode, TreeFile, TreeFolder, TreePlace } from './tree.ts';
import { createXattrPool } from './xattr-pool.ts';
import type { XattrPool } from './xattr-pool.ts';

/** uid and gid with all bits set mean "unchanged" to chown(2): no file can have them. */
const maxId = 0xffff_fffe;
/** The range of the kernel's 32-bit device numbers. */
const maxMajor = 0xfff;
const maxMinor = 0xf_ffff;

export interface TreeWriter extends TarSink {
  readonly root: TreeFolder;
  /** Creates a folder that no entry has described yet. */
  makeFolder(parent: TreeFolder, name: string): TreeFolder;
  /** Extended attributes that stay in memory until the end. */
  readonly xattrs: XattrPool;
}

/**
 * Builds the tree of one layer from the entries of its archive. It follows the rules of
 * `../unpack/layer-writer.ts`, which writes the same tree to a disk: it refuses the same entries with the
 * same codes, and leaves the same two questions open (`pending-link`, and folders that are not `explicit`).
 * Source: image-spec layer.md ("Applying Changesets"); overlayfs.rst ("whiteouts and opaque directories").
 * @param budget the budget of the layer
 * @param positionOf returns the place of a part of the archive, in bytes from the start of the layer file
 */
export function createTreeWriter(budget: LayerBudget, positionOf: (part: Buffer) => number): TreeWriter {
  const xattrs = createXattrPool(budget);
  const folders = createFolders(budget, xattrs);
  const nodes: NodesDeps = { folders, xattrs, budget };
  /** The file whose content comes next. */
  let open: TreeFile | undefined;

  return {
    root: folders.root,
    makeFolder: folders.listedLater,
    xattrs,
    begin(entry) {
      budget.content(fileSize(entry), entry.name);
      if (entry.sparse !== undefined) budget.sparse(entry.sparse, entry.name);
      if (entry.uid > maxId || entry.gid > maxId)
        throw layerError('IMAGES_LAYER_UNSUPPORTED', printable(entry.name), 'its owner is out of range');
      open = addEntry(nodes, entry);
    },
    data(part) {
      // The content is in one piece: its first byte gives its place.
      if (open !== undefined && open.at === 0) open.at = positionOf(part);
    },
    end() {
      open = undefined;
    },
  };
}

interface NodesDeps {
  readonly folders: Folders;
  readonly xattrs: XattrPool;
  readonly budget: LayerBudget;
}

/** Adds one entry to the tree. Returns the node of a regular file. */
function addEntry(nodes: NodesDeps, entry: TarEntry): TreeFile | undefined {
  const { folders, xattrs, budget } = nodes;
  const place = folders.placeOf(entry.name);
  if (place === undefined) {
    budget.entry('');
    if (entry.type !== 'directory')
      throw layerError('IMAGES_LAYER_BAD_NAME', printable(entry.name), 'only a folder can be the root');
    folders.describe(folders.root, entry);
    return undefined;
  }
  budget.entry(pathOf(place.folder, place.name));
  if (isWhiteout(place)) {
    addWhiteout(place, entry.name);
    return undefined;
  }
  if (entry.type === 'directory') {
    folders.describe(folders.folderAt(place), entry);
    return undefined;
  }
  if (entry.type === 'hard-link') refuseSelfLink(nodes, place, entry);
  folders.clear(place);
  if (entry.type === 'file') {
    const file: TreeFile = {
      kind: 'file',
      ...attributesOf(entry),
      size: fileSize(entry),
      at: 0,
      xattrs: xattrs.keep(entry.xattrs, entry.name),
      ...(entry.sparse !== undefined && entry.sparse.size > 0 && { sparse: entry.sparse }),
    };
    place.folder.children.set(place.name, file);
    return file;
  }
  if (entry.type === 'symlink') addSymlink(nodes, place, entry);
  else if (entry.type === 'hard-link') addHardLink(nodes, place, entry);
  else addDevice(place, entry);
  return undefined;
}

/** Attributes of an entry, for a node that has no place yet. */
function attributesOf({
  mode,
  uid,
  gid,
  mtime,
}: TarEntry): Pick<TreeFile, 'mode' | 'uid' | 'gid' | 'mtime' | 'slot' | 'links'> {
  return { mode, uid, gid, mtime: fileTime(mtime), slot: 0, links: 0 };
}

/**
 * `.wh.NAME` hides NAME of the layers below, never of this one, whichever comes first. @throws
 * IMAGES_LAYER_BAD_NAME
 */
function addWhiteout(place: TreePlace, name: string): void {
  const whiteout = readWhiteout(place, name);
  if (whiteout?.hides === 'all') place.folder.opaque = true;
  if (whiteout?.hides !== 'one') return;
  const { target } = whiteout;
  const existing = place.folder.children.get(target);
  if (existing?.kind === 'folder') existing.opaque = true;
  if (existing === undefined) place.folder.children.set(target, newWhiteout());
}

function addSymlink({ folders, budget }: NodesDeps, place: TreePlace, entry: TarEntry): void {
  const { linkName: target } = entry;
  if (target === '')
    throw layerError('IMAGES_LAYER_BAD_LINK', printable(entry.name), 'the symlink has no target');
  if (target.length > maxTargetBytes)
    throw layerError(
      'IMAGES_LAYER_BAD_NAME',
      printable(entry.name),
      'its path is too long for the file system',
    );
  folders.forgetLastParent();
  budget.keep(target.length, entry.name);
  place.folder.children.set(place.name, { kind: 'symlink', target, ...attributesOf(entry), at: 0 });
}

/**
 * Call it before an earlier entry at this place is removed. @throws IMAGES_LAYER_BAD_LINK when a hard link
 * names itself
 */
function refuseSelfLink({ folders, budget }: NodesDeps, place: TreePlace, entry: TarEntry): void {
  const target = placeIn(folders.root, splitName(entry.linkName), budget);
  if (target?.folder === place.folder && target.name === place.name)
    throw layerError('IMAGES_LAYER_BAD_LINK', printable(entry.name), 'the hard link names itself');
}

/** Adds a second name of a node, or a `pending-link` when the layer does not contain its target. */
function addHardLink({ folders, budget }: NodesDeps, place: TreePlace, entry: TarEntry): void {
  const parts = splitName(entry.linkName);
  const target = placeIn(folders.root, parts, budget);
  const node = target?.folder.children.get(target.name);
  if (target === undefined || node === undefined || node.kind === 'pending-link') {
    budget.pendingLink(entry.name);
    budget.keep(entry.linkName.length, entry.name);
    place.folder.children.set(place.name, {
      kind: 'pending-link',
      target: node?.kind === 'pending-link' ? node.target : parts.join('/'),
    });
    return;
  }
  if (node.kind === 'folder' || node.kind === 'whiteout')
    throw layerError(
      'IMAGES_LAYER_BAD_LINK',
      printable(entry.name),
      `its target ${printable(entry.linkName)} is a ${node.kind}`,
    );
  budget.path(pathOf(target.folder, target.name));
  if (node.kind === 'symlink') folders.forgetLastParent();
  place.folder.children.set(place.name, node);
}

function addDevice(place: TreePlace, entry: TarEntry): void {
  const { major, minor } = entry;
  const type = entry.type === 'fifo' ? S_IFIFO : entry.type === 'block-device' ? S_IFBLK : S_IFCHR;
  // Overlayfs reads a character device 0/0 as a whiteout. An archive must express a whiteout by its name,
  // which every tool recognises.
  if (type === S_IFCHR && major === 0 && minor === 0)
    throw layerError(
      'IMAGES_LAYER_UNSUPPORTED',
      printable(entry.name),
      'overlayfs would treat a character device 0/0 as a whiteout',
    );
  if (major > maxMajor || minor > maxMinor)
    throw layerError('IMAGES_LAYER_UNSUPPORTED', printable(entry.name), 'its device number is out of range');
  const device: Inode = { kind: 'device', ...attributesOf(entry), mode: type | entry.mode, major, minor };
  place.folder.children.set(place.name, device);
}

/** The folders of the tree. */
interface Folders {
  readonly root: TreeFolder;
  /**
   * Resolves the name of an entry, and creates the folders on the way; undefined: the name means the root.
   */
  placeOf(name: string): TreePlace | undefined;
  /** Returns the folder at a place. Creates it if the place has none, in place of any other node. */
  folderAt(place: TreePlace): TreeFolder;
  /** Creates a folder on the way to an entry: the archive may describe it later. */
  listedLater(parent: TreeFolder, name: string): TreeFolder;
  describe(target: TreeFolder, entry: TarEntry): void;
  /** Removes the result of an earlier entry: the last entry wins, whatever its type. */
  clear(place: TreePlace): void;
  /** Resolves the next name from the root again: a symlink may change where it leads. */
  forgetLastParent(): void;
}

function createFolders(budget: LayerBudget, xattrs: XattrPool): Folders {
  const root = newTreeFolder(undefined, '');
  const places = createEntryPlaces(asLayerFolder(root), budget, (parent, name) =>
    asLayerFolder(listedLater(asTreeFolder(parent), name)),
  );

  function placeOf(name: string): TreePlace | undefined {
    const place = places.placeOf(name);
    return place === undefined ? undefined : { folder: asTreeFolder(place.folder), name: place.name };
  }

  function listedLater(parent: TreeFolder, name: string): TreeFolder {
    budget.folder(pathOf(parent, name));
    return implicitFolder(parent, name);
  }

  function implicitFolder(parent: TreeFolder, name: string): TreeFolder {
    const made = newTreeFolder(parent, name);
    budget.keep(made.path.length, made.path);
    made.opaque = parent.children.get(name)?.kind === 'whiteout';
    parent.children.set(name, made);
    return made;
  }

  function folderAt(place: TreePlace): TreeFolder {
    const existing = place.folder.children.get(place.name);
    if (existing?.kind === 'folder') return existing;
    if (existing !== undefined && existing.kind !== 'whiteout') clear(place);
    return implicitFolder(place.folder, place.name);
  }

  function describe(target: TreeFolder, entry: TarEntry): void {
    const { mode, uid, gid, mtime } = entry;
    Object.assign(target, {
      explicit: true,
      mode,
      uid,
      gid,
      mtime: fileTime(mtime),
      xattrs: xattrs.keep(entry.xattrs, target.path),
    });
  }

  function clear(place: TreePlace): void {
    const existing = place.folder.children.get(place.name);
    if (existing?.kind === 'folder' || existing?.kind === 'symlink') places.forgetLastParent();
    place.folder.children.delete(place.name);
  }

  return { root, placeOf, folderAt, listedLater, describe, clear, forgetLastParent: places.forgetLastParent };
}
