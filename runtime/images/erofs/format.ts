/**
 * The part of the EROFS on-disk format that layer files use: extended inodes, flat layouts, chunks for sparse
 * files, inline extended attributes; no compression, no further devices, no shared attributes. Sources: Linux
 * fs/erofs/erofs_fs.h; Documentation/filesystems/erofs.rst; erofs.docs.kernel.org, "Core on-disk format".
 */

/**
 * The data of a tar file begins at a multiple of 512 bytes, and a block address must be able to name it.
 * Linux takes blocks that are smaller than a page since 6.4.
 */
export const blockBits = 9;
export const blockBytes = 1 << blockBits;

/** Regions begin at pages: on every disk, this alignment suffices for a direct read of the file. */
export const pageBytes = 4096;

/** The head: a label, the superblock, and zeros. */
export const headBytes = 4096;

const superblockAt = 1024;
const superblockMagic = 0xe0f5e1e2;
/** Feature bit: the time of an inode is the time when its content last changed (mtime). */
const compatMtime = 2;

/** Inode addresses count slots of this size from the start of the metadata. */
export const slotBytes = 32;
export const inodeBytes = 64;
/** Inode number 0 is not an inode for readdir(3), so the first slots of the metadata are empty. */
export const firstInodeAt = 64;

export const layouts = { plain: 0, inline: 2, chunks: 4 } as const;
const extendedInode = 1;
/** The value of `i_format`: version in bit 0, layout in the bits from 1. */
export const plainFormat = extendedInode | (layouts.plain << 1);
export const inlineFormat = extendedInode | (layouts.inline << 1);
/** A sparse file: a list of block addresses, one for each chunk, follows the inode and its attributes. */
export const chunkedFormat = extendedInode | (layouts.chunks << 1);
/** The incompatible feature of such files. Linux 5.15 and later. */
const incompatChunks = 4;
/**
 * A chunk has the size of the blocks of most disks. `i_u.c.format` has the difference between its bits and
 * the bits of a block.
 */
export const chunkBytes = 4096;
export const chunkFormat = Math.log2(chunkBytes / blockBytes);
/** Length of a block address in the list, and the address of a hole. */
export const chunkAddressBytes = 4;
export const holeAddress = 0xffff_ffff;

export const direntBytes = 12;
export const maxNameBytes = 255;
/** A symlink's target and its closing NUL fill at most one page, as in symlink(2). */
export const maxTargetBytes = pageBytes - 1;
/** A symlink's target of up to this length comes after its inode, in the same block. */
export const maxInlineTarget = blockBytes - inodeBytes;

/** File types of inode(7) that `base/kernel` does not name. */
export const S_IFREG = 0o100000;
export const S_IFDIR = 0o040000;

/** `file_type` of a directory entry. */
export const fileTypes = { file: 1, folder: 2, character: 3, block: 4, fifo: 5, symlink: 7 } as const;

/** Header of the attributes that follow an inode. */
export const xattrHeaderBytes = 12;
export const xattrEntryBytes = 4;
/** `i_xattr_icount` has 16 bits: it counts 4-byte units after the header, and the header as one. */
export const maxXattrBodyBytes = xattrHeaderBytes + 4 * (0xffff - 1);
/** The prefixes of the name indexes of attributes. */
export const xattrPrefixes: readonly (readonly [prefix: string, index: number])[] = [
  ['user.', 1],
  ['trusted.', 4],
  ['security.', 6],
];

export function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

/**
 * The regions of a layer file, in bytes from its start: the head, the archive, copied files, the metadata.
 */
export interface Regions {
  /** Length of the archive, which begins after the head. */
  readonly archiveBytes: number;
  /** Start of the files that were copied from the layers below. */
  readonly copiesAt: number;
  /** Start of the inodes. */
  readonly metadataAt: number;
  /** Start of the blocks of folders and long symlinks. */
  readonly blocksAt: number;
  readonly fileBytes: number;
  readonly inodes: number;
  /** Slot of the root's inode. */
  readonly rootSlot: number;
  /** `sha256:…` of the archive. */
  readonly diffId: string;
  /** Whether there are sparse files. */
  readonly hasChunks: boolean;
}

/** Only Portcullis reads the label: the kernel reads nothing before the superblock. */
const label = 'portcullis layer 1\n';
const labelAt = {
  archiveBytes: 32,
  copiesAt: 40,
  metadataAt: 48,
  blocksAt: 56,
  fileBytes: 64,
  digest: 72,
} as const;

/** Returns the head of a layer file. */
export function encodeHead(regions: Regions): Buffer {
  const head = Buffer.alloc(headBytes);
  head.write(label, 0, 'latin1');
  for (const key of ['archiveBytes', 'copiesAt', 'metadataAt', 'blocksAt', 'fileBytes'] as const)
    head.writeBigUInt64LE(BigInt(regions[key]), labelAt[key]);
  const digest = Buffer.from(regions.diffId.slice('sha256:'.length), 'hex');
  digest.copy(head, labelAt.digest);

  head.writeUInt32LE(superblockMagic, superblockAt);
  head.writeUInt32LE(compatMtime, superblockAt + 8);
  head.writeUInt8(blockBits, superblockAt + 12);
  head.writeUInt16LE(regions.rootSlot, superblockAt + 14);
  head.writeBigUInt64LE(BigInt(regions.inodes), superblockAt + 16);
  head.writeUInt32LE(regions.fileBytes / blockBytes, superblockAt + 36);
  head.writeUInt32LE(regions.metadataAt / blockBytes, superblockAt + 40);
  if (regions.hasChunks) head.writeUInt32LE(incompatChunks, superblockAt + 80);
  // The same archive gives the same file: the volume's id is part of its digest.
  digest.copy(head, superblockAt + 48, 0, 16);
  return head;
}

/**
 * Reads the head of a layer file; undefined: it is not a valid head. {@link encodeHead} returns the same
 * bytes for the result: no byte of a head is ignored.
 */
export function decodeHead(head: Buffer): Regions | undefined {
  if (head.length !== headBytes || head.toString('latin1', 0, label.length) !== label) return undefined;
  const read = (at: number): number => Number(head.readBigUInt64LE(at));
  const regions: Regions = {
    archiveBytes: read(labelAt.archiveBytes),
    copiesAt: read(labelAt.copiesAt),
    metadataAt: read(labelAt.metadataAt),
    blocksAt: read(labelAt.blocksAt),
    fileBytes: read(labelAt.fileBytes),
    inodes: read(superblockAt + 16),
    rootSlot: head.readUInt16LE(superblockAt + 14),
    diffId: `sha256:${head.toString('hex', labelAt.digest, labelAt.digest + 32)}`,
    hasChunks: head.readUInt32LE(superblockAt + 80) !== 0,
  };
  return isOrdered(regions) && encodeHead(regions).equals(head) ? regions : undefined;
}

/** Whether the regions follow each other, at pages, within what a block address can name. */
function isOrdered({ archiveBytes, copiesAt, metadataAt, blocksAt, fileBytes, inodes }: Regions): boolean {
  return (
    copiesAt === roundUp(headBytes + archiveBytes, pageBytes) &&
    metadataAt >= copiesAt &&
    metadataAt % pageBytes === 0 &&
    blocksAt >= metadataAt + firstInodeAt + inodeBytes &&
    blocksAt % blockBytes === 0 &&
    fileBytes >= blocksAt &&
    fileBytes % pageBytes === 0 &&
    fileBytes <= maxFileBytes &&
    inodes >= 1 &&
    inodes <= (blocksAt - metadataAt - firstInodeAt) / inodeBytes
  );
}

/** A block address has 32 bits, of which the last value means "none". */
export const maxFileBytes = 0xffff_ffff * blockBytes;
