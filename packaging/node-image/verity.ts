import { hash } from 'node:crypto';

/** Size of a block of data, and of the hash tree, in bytes: the page of x86-64, and a block of EROFS. */
export const verityBlock = 4096;
const digestBytes = 32;

/** The hash tree of a file system image, as dm-verity reads it. */
export interface VerityTree {
  /** Digest of the topmost block, in hexadecimal. */
  readonly rootHash: string;
  /** In hexadecimal. */
  readonly salt: string;
  /** Number of blocks of the image. The tree begins at the block with this number. */
  readonly dataBlocks: number;
  /** The blocks of the tree: the level of the root first. */
  readonly tree: Buffer;
}

/**
 * Computes the hash tree of an image, format 1 with SHA-256: a block is hashed after the salt, a block of the
 * tree contains the digests of the blocks below it and is filled with zeros, and the levels follow each other
 * from the root down (Linux, admin-guide/device-mapper/verity.rst, "Hash Tree" and "On-disk format"). There
 * is no superblock: the command line has what it would say.
 * @param image a whole number of blocks, at least one
 * @throws Error if it is not a whole number of blocks
 */
export function verityTree(image: Uint8Array): VerityTree {
  if (image.length === 0 || image.length % verityBlock !== 0)
    throw new Error(`the image has ${image.length} bytes, which is not a whole number of blocks`);
  // The salt distinguishes the trees of different images, and the same image gives the same tree.
  const salt = hash('sha256', image, 'buffer');
  const levels: Buffer[] = [];
  let digests = blockDigests(image, salt);
  while (digests.length > digestBytes) {
    const level = Buffer.alloc(Math.ceil(digests.length / verityBlock) * verityBlock);
    digests.copy(level);
    levels.unshift(level);
    digests = blockDigests(level, salt);
  }
  return {
    rootHash: digests.toString('hex'),
    salt: salt.toString('hex'),
    dataBlocks: image.length / verityBlock,
    tree: Buffer.concat(levels),
  };
}

/** Returns the digests of all blocks, one after the other. */
function blockDigests(blocks: Uint8Array, salt: Uint8Array): Buffer {
  const count = blocks.length / verityBlock;
  const digests = Buffer.alloc(count * digestBytes);
  const salted = Buffer.alloc(salt.length + verityBlock);
  salted.set(salt);
  for (let index = 0; index < count; index += 1) {
    salted.set(blocks.subarray(index * verityBlock, (index + 1) * verityBlock), salt.length);
    hash('sha256', salted, 'buffer').copy(digests, index * digestBytes);
  }
  return digests;
}
