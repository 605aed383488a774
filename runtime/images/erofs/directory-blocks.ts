import { S_IFBLK, S_IFIFO, S_IFMT } from '../../../base/kernel/index.ts';
import { blockBytes, direntBytes, fileTypes } from './format.ts';
import type { Inode, TreeFolder } from './tree.ts';

/**
 * Returns the length of a folder's directory: whole blocks, and the part of the last one that is used. Each
 * block has its own entries, then their names without anything between them.
 * @param names sorted by their bytes, with `.` and `..`
 */
export function directoryBytes(names: readonly string[]): number {
  let [blocks, used] = [0, 0];
  for (const name of names) {
    const bytes = direntBytes + name.length;
    if (used + bytes > blockBytes) [blocks, used] = [blocks + 1, 0];
    used += bytes;
  }
  return blocks * blockBytes + used;
}

/** Yields the blocks of a folder's directory; the last one is as long as what is used of it. */
export function* directoryBlocks(folder: TreeFolder): Generator<Buffer> {
  const { names } = folder;
  for (let first = 0; first < names.length;) {
    let [end, used] = [first, 0];
    for (
      let name = names[end];
      name !== undefined && used + direntBytes + name.length <= blockBytes;
      name = names[++end]
    )
      used += direntBytes + name.length;
    yield block(folder, names.slice(first, end), end < names.length ? blockBytes : used);
    first = end;
  }
}

/** struct erofs_dirent: nid u64, nameoff u16, file_type u8. */
function block(folder: TreeFolder, names: readonly string[], bytes: number): Buffer {
  const made = Buffer.alloc(bytes);
  let nameAt = names.length * direntBytes;
  names.forEach((name, index) => {
    const node = nodeOf(folder, name);
    const at = index * direntBytes;
    made.writeBigUInt64LE(BigInt(node.slot), at);
    made.writeUInt16LE(nameAt, at + 8);
    made.writeUInt8(typeOf(node), at + 10);
    made.write(name, nameAt, 'latin1');
    nameAt += name.length;
  });
  return made;
}

function nodeOf(folder: TreeFolder, name: string): Inode {
  if (name === '.') return folder;
  if (name === '..') return folder.parent ?? folder;
  const node = folder.children.get(name);
  if (node === undefined || node.kind === 'pending-link') throw new Error('a planned folder changed');
  return node;
}

function typeOf(node: Inode): number {
  if (node.kind === 'whiteout') return fileTypes.character;
  if (node.kind !== 'device') return fileTypes[node.kind];
  const type = node.mode & S_IFMT;
  return type === S_IFIFO ? fileTypes.fifo : type === S_IFBLK ? fileTypes.block : fileTypes.character;
}
