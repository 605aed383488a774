import { resolvePlace, undescribedFolder } from '../unpack/layer-tree.ts';
import type { Folder, PendingLink } from '../unpack/layer-tree.ts';
import type { LayerBudget } from '../unpack/layer-budget.ts';
import type { SparseMap } from '../unpack/sparse.ts';

/**
 * The tree of one layer in memory, with the content of its inodes. It has the shape of the tree of
 * `../unpack/layer-tree.ts`, so that the functions there resolve the names of both. Names that are hard links
 * share one node.
 */
export type TreeNode = TreeFolder | TreeFile | TreeSymlink | TreeDevice | TreeWhiteout | PendingLink;

/** A node that gets an inode. */
export type Inode = Exclude<TreeNode, PendingLink>;

export type Xattrs = ReadonlyMap<string, Uint8Array>;

/** The place of a node in the metadata; 0 until it is planned. */
interface Planned {
  /** Address of the inode, in slots from the start of the metadata. */
  slot: number;
  /** Number of names. */
  links: number;
}

export interface TreeFolder extends Omit<Folder, 'parent' | 'children' | 'xattrs'>, Planned {
  readonly parent: TreeFolder | undefined;
  readonly children: Map<string, TreeNode>;
  xattrs: Xattrs | undefined;
  /** Its names and `.` and `..`, sorted by their bytes; empty until it is planned. */
  names: readonly string[];
  /** Place of its directory blocks, in bytes from the start of the file, and their length. */
  at: number;
  bytes: number;
}

interface Attributes {
  /** Permissions; for a device with type bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Nanoseconds since the epoch. */
  readonly mtime: bigint;
}

export interface TreeFile extends Attributes, Planned {
  readonly kind: 'file';
  readonly size: number;
  /** Place of its content, in bytes from the start of the layer file; 0 for an empty file. */
  at: number;
  /** The map of a sparse file, whose content is at several places. */
  readonly sparse?: SparseMap;
  /** Its block addresses, one for each chunk, when they are known. */
  chunks?: Uint32Array;
  readonly xattrs: Xattrs | undefined;
}
export interface TreeSymlink extends Omit<Attributes, 'mode'>, Planned {
  readonly kind: 'symlink';
  readonly target: string;
  /** Place of a target that does not fit after the inode; 0 otherwise. */
  at: number;
}
export interface TreeDevice extends Attributes, Planned {
  readonly kind: 'device';
  readonly major: number;
  readonly minor: number;
}
export interface TreeWhiteout extends Planned {
  readonly kind: 'whiteout';
}

export interface TreePlace {
  readonly folder: TreeFolder;
  readonly name: string;
}

export function newTreeFolder(parent: TreeFolder | undefined, name: string): TreeFolder {
  return {
    kind: 'folder',
    path: parent === undefined ? '' : pathOf(parent, name),
    parent,
    children: new Map(),
    ...undescribedFolder,
    names: [],
    at: 0,
    bytes: 0,
    slot: 0,
    links: 0,
  };
}

export function newWhiteout(): TreeWhiteout {
  return { kind: 'whiteout', slot: 0, links: 0 };
}

export function pathOf(folder: TreeFolder, name: string): string {
  return folder.path === '' ? name : `${folder.path}/${name}`;
}

/**
 * Returns the folder in the type that the functions of `../unpack` expect. They read only fields that both
 * trees have (kind, path, parent, children, explicit, opaque, a symlink's target), and add nothing to a tree.
 */
export function asLayerFolder(folder: TreeFolder): Folder {
  return folder as unknown as Folder;
}

/** Returns a folder that a function of `../unpack` found in a tree of this module. */
export function asTreeFolder(folder: Folder): TreeFolder {
  return folder as unknown as TreeFolder;
}

/** Resolves a name in the tree, as `resolvePlace` of `../unpack/layer-tree.ts` does. @throws as there */
export function placeIn(
  root: TreeFolder,
  parts: readonly string[],
  budget: Pick<LayerBudget, 'steps'>,
): TreePlace | undefined {
  const place = resolvePlace(asLayerFolder(root), parts, budget);
  return place === undefined ? undefined : { folder: asTreeFolder(place.folder), name: place.name };
}

/** Visits the folders of a tree, each before its children. */
export function eachFolder(root: TreeFolder, visit: (folder: TreeFolder) => void): void {
  // An explicit stack: a deep archive must not exhaust the call stack.
  const stack: TreeFolder[] = [root];
  for (let folder = stack.pop(); folder !== undefined; folder = stack.pop()) {
    visit(folder);
    for (const child of folder.children.values()) if (child.kind === 'folder') stack.push(child);
  }
}
