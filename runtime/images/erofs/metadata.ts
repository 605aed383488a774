import { S_IFCHR, S_IFLNK } from '../../../base/kernel/index.ts';
import type { LayerBudget } from '../unpack/layer-budget.ts';
import { layerError } from '../unpack/layer-error.ts';
import { printable } from '../unpack/printable.ts';
import {
  blockBytes,
  chunkAddressBytes,
  chunkFormat,
  chunkedFormat,
  firstInodeAt,
  inlineFormat,
  inodeBytes,
  maxFileBytes,
  maxInlineTarget,
  pageBytes,
  plainFormat,
  roundUp,
  S_IFDIR,
  S_IFREG,
  slotBytes,
  xattrHeaderBytes,
} from './format.ts';
import type { Regions } from './format.ts';
import { directoryBlocks, directoryBytes } from './directory-blocks.ts';
import type { LayerFileWriter } from './layer-file.ts';
import { pathOf } from './tree.ts';
import type { Inode, TreeFolder, TreeNode, Xattrs } from './tree.ts';
import { encodeFolderXattrs, encodeXattrs } from './xattrs.ts';

const nanoseconds = 1_000_000_000n;

/** The places of all parts of a tree. */
interface Plan {
  /** Inodes in the order of their places. */
  readonly inodes: readonly Inode[];
  readonly folders: readonly TreeFolder[];
  /** Symlinks whose target has blocks of its own. */
  readonly longLinks: readonly (Inode & { readonly kind: 'symlink' })[];
  readonly blocksAt: number;
  readonly fileBytes: number;
}

/**
 * Writes the metadata of a settled tree behind the archive and the copied files: the inodes, then the blocks
 * of folders and of long symlinks. An inode is written once, however many names it has.
 * @returns the regions of the file, which its head lists
 * @throws IMAGES_LAYER_TOO_LARGE, and what `budget.goOn` throws
 */
export function writeMetadata(
  file: LayerFileWriter,
  root: TreeFolder,
  archive: { readonly bytes: number; readonly digest: string; readonly end: number },
  budget: LayerBudget,
): Regions {
  const metadataAt = file.beginMetadata();
  const encoded = createEncodedXattrs();
  const plan = planTree(root, metadataAt, encoded, budget);
  const inode = Buffer.alloc(inodeBytes);
  plan.inodes.forEach((node, index) => {
    budget.goOn();
    file.zeroTo(metadataAt + node.slot * slotBytes);
    const xattrs = encoded.of(node);
    encodeInode(inode, node, index + 1, xattrs);
    file.append(inode);
    if (xattrs !== undefined) file.append(xattrs);
    if (node.kind === 'file' && node.chunks !== undefined) appendChunks(file, node.chunks, budget);
    if (node.kind === 'symlink' && node.at === 0) file.append(Buffer.from(node.target, 'latin1'));
  });
  for (const folder of plan.folders) {
    file.zeroTo(folder.at);
    for (const block of directoryBlocks(folder)) {
      budget.goOn();
      file.append(block);
    }
  }
  for (const link of plan.longLinks) {
    file.zeroTo(link.at);
    file.append(Buffer.from(link.target, 'latin1'));
  }
  return {
    archiveBytes: archive.bytes,
    copiesAt: archive.end,
    metadataAt,
    blocksAt: plan.blocksAt,
    fileBytes: plan.fileBytes,
    inodes: plan.inodes.length,
    rootSlot: root.slot,
    diffId: archive.digest,
    hasChunks: plan.inodes.some((node) => node.kind === 'file' && node.chunks !== undefined),
  };
}

/** Appends the block addresses of a sparse file. */
function appendChunks(file: LayerFileWriter, chunks: Uint32Array, budget: LayerBudget): void {
  const part = Buffer.alloc(Math.min(chunks.length, 16_384) * chunkAddressBytes);
  for (let first = 0; first < chunks.length; first += 16_384) {
    budget.goOn();
    const some = chunks.subarray(first, first + 16_384);
    some.forEach((address, index) => part.writeUInt32LE(address, index * chunkAddressBytes));
    file.append(part.subarray(0, some.length * chunkAddressBytes));
  }
}

/** Encodes the attributes of nodes, equal sets once. */
interface EncodedXattrs {
  of(node: Inode): Buffer | undefined;
}

function createEncodedXattrs(): EncodedXattrs {
  const known = new Map<Xattrs, Buffer | undefined>();
  return {
    of(node) {
      if (node.kind === 'folder' && node.opaque) return encodeFolderXattrs(node);
      if (node.kind !== 'file' && node.kind !== 'folder') return undefined;
      if (node.xattrs === undefined) return undefined;
      if (!known.has(node.xattrs)) known.set(node.xattrs, encodeXattrs(node.xattrs, 'layer'));
      return known.get(node.xattrs);
    },
  };
}

/** Gives each node its place. */
function planTree(root: TreeFolder, metadataAt: number, encoded: EncodedXattrs, budget: LayerBudget): Plan {
  const inodes: Inode[] = [];
  const folders: TreeFolder[] = [];
  const longLinks: (Inode & { readonly kind: 'symlink' })[] = [];
  let at = firstInodeAt;

  function place(node: Inode): void {
    node.links++;
    if (node.slot !== 0) return;
    let bytes = inodeBytes + (encoded.of(node)?.length ?? 0);
    if (node.kind === 'file') bytes += (node.chunks?.length ?? 0) * chunkAddressBytes;
    if (node.kind === 'symlink') {
      if (node.target.length > maxInlineTarget) {
        longLinks.push(node);
      } else {
        // The kernel wants an inode's inline data in the block where the inode ends.
        bytes += node.target.length;
        if ((at % blockBytes) + bytes > blockBytes) at = roundUp(at, blockBytes);
      }
    }
    node.slot = at / slotBytes;
    at = roundUp(at + bytes, slotBytes);
    inodes.push(node);
  }

  const stack: TreeFolder[] = [root];
  for (let folder = stack.pop(); folder !== undefined; folder = stack.pop()) {
    place(folder);
    folders.push(folder);
    folder.names = [...folder.children.keys(), '.', '..'].sort(byBytes);
    for (const [name, node] of folder.children) {
      budget.goOn();
      if (node.kind === 'folder') stack.push(node);
      else place(settled(node, folder, name));
    }
  }
  const blocksAt = roundUp(metadataAt + at, blockBytes);
  let end = blocksAt;
  for (const folder of folders) {
    // A folder is named by its parent, by itself and by each folder in it.
    folder.links = 2;
    for (const child of folder.children.values()) if (child.kind === 'folder') folder.links++;
    folder.at = end;
    folder.bytes = directoryBytes(folder.names);
    end = roundUp(end + folder.bytes, blockBytes);
  }
  for (const link of longLinks) {
    link.at = end;
    end = roundUp(end + link.target.length, blockBytes);
  }
  const fileBytes = roundUp(end, pageBytes);
  if (fileBytes > maxFileBytes)
    throw layerError(
      'IMAGES_LAYER_TOO_LARGE',
      'layer',
      `its file would have more than ${maxFileBytes} bytes, which is the maximum that EROFS can address`,
    );
  return { inodes, folders, longLinks, blocksAt, fileBytes };
}

/** Names are byte strings: one character is one byte. */
function byBytes(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function settled(node: TreeNode, folder: TreeFolder, name: string): Inode {
  if (node.kind === 'pending-link')
    throw new Error(`the hard link ${printable(pathOf(folder, name))} was never settled`);
  return node;
}

/** Writes an inode into `to`: struct erofs_inode_extended. */
function encodeInode(to: Buffer, node: Inode, number: number, xattrs: Buffer | undefined): void {
  to.fill(0);
  to.writeUInt16LE(formatOf(node), 0);
  if (xattrs !== undefined) to.writeUInt16LE((xattrs.length - xattrHeaderBytes) / 4 + 1, 2);
  to.writeUInt16LE(modeOf(node), 4);
  to.writeBigUInt64LE(BigInt(sizeOf(node)), 8);
  if (node.kind === 'device') to.writeUInt32LE(deviceNumber(node.major, node.minor), 16);
  else if (node.kind === 'file' && node.chunks !== undefined) to.writeUInt32LE(chunkFormat, 16);
  else if (node.kind !== 'whiteout') to.writeUInt32LE(node.at / blockBytes, 16);
  to.writeUInt32LE(number, 20);
  if (node.kind !== 'whiteout') {
    to.writeUInt32LE(node.uid, 24);
    to.writeUInt32LE(node.gid, 28);
    to.writeBigUInt64LE(node.mtime / nanoseconds, 32);
    to.writeUInt32LE(Number(node.mtime % nanoseconds), 40);
  }
  to.writeUInt32LE(node.links, 44);
}

function formatOf(node: Inode): number {
  if (node.kind === 'file' && node.chunks !== undefined) return chunkedFormat;
  return node.kind === 'symlink' && node.at === 0 ? inlineFormat : plainFormat;
}

function modeOf(node: Inode): number {
  switch (node.kind) {
    case 'file':
      return S_IFREG | node.mode;
    case 'folder':
      return S_IFDIR | node.mode;
    case 'symlink':
      return S_IFLNK | 0o777;
    case 'device':
      return node.mode;
    case 'whiteout':
      return S_IFCHR;
  }
}

function sizeOf(node: Inode): number {
  if (node.kind === 'file') return node.size;
  if (node.kind === 'folder') return node.bytes;
  return node.kind === 'symlink' ? node.target.length : 0;
}

/** The kernel's encoding of a device number in 32 bits: new_encode_dev of linux/kdev_t.h. */
function deviceNumber(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}
