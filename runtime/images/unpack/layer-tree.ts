import { append } from '../../../base/lists/index.ts';
import { layerError } from './layer-error.ts';
import { printable } from './printable.ts';
import type { LayerBudget } from './layer-budget.ts';

/**
 * The tree of one layer, in memory, as the writer created it. The staging folder starts empty and no other
 * process writes there, so this tree knows the type of every path. Names are resolved here, never by the
 * kernel, so no symlink of an archive can lead outside. Names are byte strings (latin1).
 */
export type Node = Folder | File | Symlink | Whiteout | Device | PendingLink;

export interface Folder {
  readonly kind: 'folder';
  /** From the layer's root, without a leading slash; the root itself is ''. */
  readonly path: string;
  readonly parent: Folder | undefined;
  readonly children: Map<string, Node>;
  /** False for a folder that was created only because an entry below it needed it. */
  explicit: boolean;
  opaque: boolean;
  mode: number;
  uid: number;
  gid: number;
  /** Nanoseconds since the epoch. */
  mtime: bigint;
  xattrs: ReadonlyMap<string, Uint8Array> | undefined;
}

/** Hard links share one inode. */
export interface Inode {
  readonly mode: number;
  size: number;
  sha256: string;
  /** How many bytes of a sparse file the disk has. */
  stored?: number;
}
export interface File {
  readonly kind: 'file';
  readonly inode: Inode;
}
export interface Symlink {
  readonly kind: 'symlink';
  readonly target: string;
}
/** Hides the name in the layers below. */
export interface Whiteout {
  readonly kind: 'whiteout';
}
export interface Device {
  readonly kind: 'device';
  /** With type bits. */
  readonly mode: number;
  readonly major: number;
  readonly minor: number;
}
/** A hard link to a file that this layer does not contain: resolved only when the layers below are known. */
export interface PendingLink {
  readonly kind: 'pending-link';
  readonly target: string;
}

/** A name in a folder of the layer; the name may not exist yet. */
export interface Place {
  readonly folder: Folder;
  readonly name: string;
}

const maxSymlinks = 40;
const maxDepth = 1024;
/** Linux's NAME_MAX. The prefix of a whiteout precedes a complete name. */
export const maxNameLength = 255;
/** The prefix of a whiteout. Source: OCI image-spec, layer.md, Whiteouts. */
export const whiteoutMark = '.wh.';

/** The attributes of a folder until an entry describes it. */
export const undescribedFolder = {
  explicit: false,
  opaque: false,
  mode: 0o755,
  uid: 0,
  gid: 0,
  mtime: 0n,
  xattrs: undefined,
} as const;

export function newFolder(parent: Folder | undefined, name: string): Folder {
  const path = parent === undefined ? '' : join(parent, name);
  return {
    kind: 'folder',
    path,
    parent,
    children: new Map(),
    ...undescribedFolder,
  };
}

export function join(folder: Folder, name: string): string {
  return folder.path === '' ? name : `${folder.path}/${name}`;
}

/** Splits an entry's name. Refuses `..`; ignores a leading `/`, `.` and repeated slashes. The root is []. */
export function splitName(name: string): string[] {
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..'))
    throw layerError('IMAGES_LAYER_BAD_NAME', printable(name), 'the name contains ".."');
  if (parts.length > maxDepth)
    throw layerError('IMAGES_LAYER_BAD_NAME', printable(name), `the name has more than ${maxDepth} parts`);
  const last = parts.length - 1;
  const isTooLong = (part: string, index: number): boolean =>
    part.length > maxNameLength + (index === last && part.startsWith(whiteoutMark) ? whiteoutMark.length : 0);
  if (parts.some(isTooLong))
    throw layerError(
      'IMAGES_LAYER_BAD_NAME',
      printable(name),
      `one of its parts has more than ${maxNameLength} bytes`,
    );
  return parts;
}

/**
 * Returns the place of `parts`. Symlinks in its folders are followed inside the layer's root (absolute ones
 * start there, `..` stops there); the last part is not followed. `make` creates missing folders; without it a
 * missing folder gives undefined. Throws IMAGES_LAYER_BAD_NAME when a folder on the way is a file, or when
 * symlinks form a loop; IMAGES_LAYER_TOO_LARGE from the budget.
 */
export function resolvePlace(
  root: Folder,
  parts: readonly string[],
  budget: Pick<LayerBudget, 'steps'>,
  make?: (folder: Folder, name: string) => Folder,
): Place | undefined {
  let folder = root;
  let followed = 0;
  // The remaining parts, last first.
  const rest = [...parts].reverse();
  for (;;) {
    const name = rest.pop();
    if (name === undefined) return undefined;
    if (name === '' || name === '.') continue;
    if (name === '..') {
      folder = folder.parent ?? root;
      continue;
    }
    if (rest.length === 0) return { folder, name };
    const node = folder.children.get(name);
    if (node?.kind === 'folder') {
      folder = node;
    } else if (node?.kind === 'symlink') {
      if (++followed > maxSymlinks)
        throw layerError('IMAGES_LAYER_BAD_NAME', printable(parts.join('/')), 'too many symlinks on the way');
      if (node.target.startsWith('/')) folder = root;
      const target = node.target.split('/').reverse();
      // The size of the archive limits the parts of the name itself, but a symlink multiplies them.
      budget.steps(target.length);
      append(rest, target);
      if (rest.length > 4 * maxDepth)
        throw layerError('IMAGES_LAYER_BAD_NAME', printable(parts.join('/')), 'the name is too deep');
    } else if (node === undefined || node.kind === 'whiteout') {
      if (make === undefined) return undefined;
      folder = make(folder, name);
    } else {
      throw layerError(
        'IMAGES_LAYER_BAD_NAME',
        printable(parts.join('/')),
        `${printable(join(folder, name))} in its path is not a folder`,
      );
    }
  }
}
