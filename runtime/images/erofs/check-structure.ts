import { S_IFBLK, S_IFCHR, S_IFIFO, S_IFLNK, S_IFMT } from '../../../base/kernel/index.ts';
import { isKeptXattr } from '../unpack/pax.ts';
import {
  blockBytes,
  chunkAddressBytes,
  chunkBytes,
  chunkFormat,
  chunkedFormat,
  direntBytes,
  fileTypes,
  firstInodeAt,
  holeAddress,
  headBytes,
  inlineFormat,
  inodeBytes,
  maxInlineTarget,
  maxNameBytes,
  maxTargetBytes,
  plainFormat,
  roundUp,
  S_IFDIR,
  S_IFREG,
  slotBytes,
  xattrEntryBytes,
  xattrHeaderBytes,
  xattrPrefixes,
} from './format.ts';
import type { Regions } from './format.ts';
import { opaqueMark } from './xattrs.ts';

/** Type of directory entry for each type of inode that a layer can have. */
const typeOfMode: ReadonlyMap<number, number> = new Map([
  [S_IFREG, fileTypes.file],
  [S_IFDIR, fileTypes.folder],
  [S_IFCHR, fileTypes.character],
  [S_IFBLK, fileTypes.block],
  [S_IFIFO, fileTypes.fifo],
  [S_IFLNK, fileTypes.symlink],
]);

const prefixOfIndex: ReadonlyMap<number, string> = new Map(
  xattrPrefixes.map(([prefix, index]) => [index, prefix]),
);

interface Inode {
  readonly slot: number;
  /** `file_type` of a directory entry. */
  readonly type: number;
  readonly size: number;
  /** Place of its data, in bytes from the start of the file. */
  readonly start: number;
  readonly links: number;
}

interface OpenFolder extends Inode {
  readonly parent: number;
}

/**
 * Checks that metadata contains only what {@link ./metadata.ts} writes: each address lies within its region,
 * each inode is used and has a place of its own, each folder has one parent and sorted names, and the counts
 * of links are correct. A file that passes leads the kernel to no byte outside the file, into no cycle, and
 * to no layout that the encoder does not write. Takes time in proportion to the metadata.
 * @param metadata everything from `regions.metadataAt` to the end of the file
 * @returns undefined, or what is wrong
 */
export function structureFault(regions: Regions, metadata: Buffer): string | undefined {
  try {
    checkStructure(regions, metadata);
    return undefined;
  } catch (thrown) {
    if (thrown instanceof Fault) return thrown.message;
    throw thrown;
  }
}

class Fault extends Error {}

function ensure(condition: boolean, what: string, slot: number): void {
  if (!condition) throw new Fault(`${what} (inode ${slot})`);
}

function checkStructure(regions: Regions, metadata: Buffer): void {
  const inodesEnd = regions.blocksAt - regions.metadataAt;
  const slots = inodesEnd / slotBytes;
  const reading: Reading = {
    ...{ regions, metadata, inodesEnd, inodes: 0 },
    ...{
      taken: new Uint8Array(slots),
      types: new Uint8Array(slots),
      links: new Uint32Array(slots),
      found: new Uint32Array(slots),
    },
  };
  const root = inodeAt(reading, regions.rootSlot);
  ensure(root.type === fileTypes.folder, 'the root is not a folder', root.slot);
  const stack: OpenFolder[] = [{ ...root, parent: root.slot }];
  for (let folder = stack.pop(); folder !== undefined; folder = stack.pop()) {
    const { slot } = folder;
    const folders = foldersIn(reading, folder);
    ensure(folder.links === 2 + folders.length, 'a folder has a wrong number of links', slot);
    for (const child of folders) stack.push({ ...child, parent: slot });
  }
  const { types, links, found } = reading;
  types.forEach((type, slot) => {
    ensure(
      type === fileTypes.folder || links[slot] === found[slot],
      'a file has a wrong number of links',
      slot,
    );
  });
  ensure(reading.inodes === regions.inodes, 'the number of inodes is wrong', 0);
  reading.taken.forEach((taken, slot) => {
    ensure(
      taken === 1 || isZero(metadata, slot * slotBytes, (slot + 1) * slotBytes),
      'there are bytes between inodes',
      slot,
    );
  });
}

interface Reading {
  readonly regions: Regions;
  readonly metadata: Buffer;
  readonly inodesEnd: number;
  /** 1 for each slot that an inode uses. */
  readonly taken: Uint8Array;
  /** Type of the inode at each slot, as in a directory entry; 0 where none was read. */
  readonly types: Uint8Array;
  /**
   * The recorded number of links of each inode that is not a folder, and the number of its names found so
   * far.
   */
  readonly links: Uint32Array;
  readonly found: Uint32Array;
  /** Number of inodes that were read. */
  inodes: number;
}

/** Reads an inode for the first time. */
function inodeAt(reading: Reading, slot: number): Inode {
  const { metadata, inodesEnd, taken } = reading;
  const at = slot * slotBytes;
  ensure(at >= firstInodeAt && at + inodeBytes <= inodesEnd, 'an inode is outside its region', slot);
  const format = metadata.readUInt16LE(at);
  const isChunked = format === chunkedFormat && reading.regions.hasChunks;
  ensure(format === plainFormat || format === inlineFormat || isChunked, 'an inode has another layout', slot);
  const mode = metadata.readUInt16LE(at + 4);
  const type = typeOfMode.get(mode & S_IFMT);
  // Not as one BigInt, which would be an allocation for each inode.
  const size = metadata.readUInt32LE(at + 8) + metadata.readUInt32LE(at + 12) * 2 ** 32;
  const block = metadata.readUInt32LE(at + 16);
  ensure(type !== undefined && Number.isSafeInteger(size), 'an inode has an unknown type or size', slot);
  ensure(
    metadata.readUInt16LE(at + 6) === 0 && isZero(metadata, at + 48, at + inodeBytes),
    'an inode uses reserved fields',
    slot,
  );
  ensure(metadata.readUInt32LE(at + 40) < 1_000_000_000, 'an inode has an invalid time', slot);
  const inode: Inode = {
    slot,
    type: type ?? 0,
    size,
    start: block * blockBytes,
    links: metadata.readUInt32LE(at + 44),
  };
  const xattrBytes = checkXattrs(reading, inode, at);
  const bodyAt = at + inodeBytes + xattrBytes;
  const inline = format === inlineFormat;
  let bodyBytes = inline ? inode.size : 0;
  if (isChunked) bodyBytes = checkChunks(reading, inode, bodyAt, block);
  else checkData(reading, inode, inline, bodyAt, block);
  const end = Math.ceil((bodyAt + bodyBytes) / slotBytes);
  for (let each = slot; each < end; each += 1) {
    ensure(taken[each] === 0, 'two inodes overlap', slot);
    taken[each] = 1;
  }
  reading.types[slot] = inode.type;
  if (inode.type !== fileTypes.folder) reading.links[slot] = inode.links;
  reading.inodes++;
  return inode;
}

/** Checks where the chunks of a sparse file are. Returns the length of the list of their addresses. */
function checkChunks(reading: Reading, { slot, type, size }: Inode, bodyAt: number, format: number): number {
  const { regions, metadata, inodesEnd } = reading;
  const { archiveBytes, copiesAt, metadataAt } = regions;
  const chunks = Math.ceil(size / chunkBytes);
  ensure(type === fileTypes.file && size > 0 && format === chunkFormat, 'chunks have another form', slot);
  ensure(
    bodyAt + chunks * chunkAddressBytes <= inodesEnd,
    'the addresses of chunks are outside their region',
    slot,
  );
  for (let chunk = 0; chunk < chunks; chunk += 1) {
    const address = metadata.readUInt32LE(bodyAt + chunk * chunkAddressBytes);
    if (address === holeAddress) continue;
    const start = address * blockBytes;
    const end = start + Math.min(chunkBytes, size - chunk * chunkBytes);
    const isPlaced =
      (start >= headBytes && end <= headBytes + archiveBytes) || (start >= copiesAt && end <= metadataAt);
    ensure(isPlaced, 'a chunk is outside the archive and the copied files', slot);
  }
  return chunks * chunkAddressBytes;
}

/** Checks where the data of an inode is. */
function checkData(reading: Reading, inode: Inode, inline: boolean, bodyAt: number, block: number): void {
  const { regions, inodesEnd } = reading;
  const { slot, type, size, start } = inode;
  const isWithin = (from: number, to: number): boolean => start >= from && start + size <= to;
  const { archiveBytes, copiesAt, metadataAt, blocksAt, fileBytes } = regions;
  if (inline) {
    ensure(
      type === fileTypes.symlink && size > 0 && size <= maxInlineTarget && block === 0,
      'inline data has a wrong size',
      slot,
    );
    ensure(
      (bodyAt % blockBytes) + size <= blockBytes && bodyAt + size <= inodesEnd,
      'inline data crosses a block',
      slot,
    );
  } else if (type === fileTypes.file) {
    const isPlaced =
      size === 0
        ? block === 0
        : isWithin(headBytes, headBytes + archiveBytes) || isWithin(copiesAt, metadataAt);
    ensure(isPlaced, 'a file is outside the archive and the copied files', slot);
  } else if (type === fileTypes.folder) {
    ensure(size > 0 && isWithin(blocksAt, fileBytes), 'a folder is outside its region', slot);
    checkPadding(reading, inode);
  } else if (type === fileTypes.symlink) {
    ensure(
      size > maxInlineTarget && size <= maxTargetBytes && isWithin(blocksAt, fileBytes),
      'a symlink is outside its region',
      slot,
    );
    checkPadding(reading, inode);
  } else {
    ensure(size === 0, 'a device has a size', slot);
  }
}

/** Looks at the rest of the last block: a look-up in a folder reads a name there to the end of the block. */
function checkPadding({ regions, metadata }: Reading, { slot, size, start }: Inode): void {
  const end = start + size - regions.metadataAt;
  ensure(
    isZero(metadata, end, roundUp(end, blockBytes)),
    'the last block of a folder or symlink is not filled with zeros',
    slot,
  );
}

/** Checks the extended attributes that follow an inode. Returns their length. */
function checkXattrs({ metadata, inodesEnd }: Reading, { slot, type }: Inode, at: number): number {
  const count = metadata.readUInt16LE(at + 2);
  if (count === 0) return 0;
  ensure(
    type === fileTypes.file || type === fileTypes.folder,
    'a link or device has extended attributes',
    slot,
  );
  const start = at + inodeBytes;
  const end = start + xattrHeaderBytes + 4 * (count - 1);
  ensure(count > 1 && end <= inodesEnd, 'extended attributes are outside their region', slot);
  ensure(isZero(metadata, start, start + xattrHeaderBytes), 'extended attributes are shared', slot);
  for (let entry = start + xattrHeaderBytes; entry < end;) {
    const valueAt = entry + xattrEntryBytes + metadata.readUInt8(entry);
    const valueEnd = valueAt + metadata.readUInt16LE(entry + 2);
    ensure(valueEnd <= end, 'an extended attribute is cut off', slot);
    const prefix = prefixOfIndex.get(metadata.readUInt8(entry + 1));
    const name = (prefix ?? '') + metadata.toString('latin1', entry + xattrEntryBytes, valueAt);
    const isOpaque =
      name === opaqueMark[0] &&
      type === fileTypes.folder &&
      metadata.subarray(valueAt, valueEnd).equals(opaqueMark[1]);
    const isKept = isKeptXattr(name) && name !== prefix && !name.includes('\0');
    ensure(prefix !== undefined && (isOpaque || isKept), 'an extended attribute has no known name', slot);
    entry += Math.ceil((valueEnd - entry) / 4) * 4;
  }
  return end - start;
}

/** Reads the names of a folder, and each inode at its first name. Returns the folders in it. */
function foldersIn(reading: Reading, folder: OpenFolder): Inode[] {
  const { regions, metadata, types, found } = reading;
  const folders: Inode[] = [];
  const { slot, parent } = folder;
  let last = '';
  let marks = 0;
  for (let done = 0; done < folder.size; done += blockBytes) {
    const at = folder.start - regions.metadataAt + done;
    const block = metadata.subarray(at, at + Math.min(blockBytes, folder.size - done));
    for (const { nid, type, name } of entries(block, slot)) {
      ensure(name > last, 'the names of a folder are not sorted', slot);
      last = name;
      if (name === '.' || name === '..') {
        marks++;
        ensure(
          nid === (name === '.' ? slot : parent) && type === fileTypes.folder,
          'a folder has a wrong "." or ".."',
          slot,
        );
        continue;
      }
      ensure(types[nid] !== fileTypes.folder, 'a folder has two names', slot);
      const isNew = nid >= types.length || types[nid] === 0;
      const child = isNew ? inodeAt(reading, nid) : undefined;
      ensure(types[nid] === type, 'a name has another type than its inode', slot);
      if (child?.type === fileTypes.folder) folders.push(child);
      else found[nid] = (found[nid] ?? 0) + 1;
    }
  }
  ensure(marks === 2, 'a folder has no "." or ".."', slot);
  return folders;
}

interface Entry {
  readonly nid: number;
  readonly type: number;
  readonly name: string;
}

/** Reads one directory block. */
function entries(block: Buffer, slot: number): Entry[] {
  ensure(block.length > direntBytes, 'a directory block is too short', slot);
  const namesAt = block.readUInt16LE(8);
  const count = namesAt / direntBytes;
  ensure(
    Number.isInteger(count) && count >= 1 && namesAt < block.length,
    'a directory block has a wrong number of names',
    slot,
  );
  const read: Entry[] = [];
  // The last name ends at the end of the block, or at its first NUL.
  const zero = block.indexOf(0, namesAt);
  const namesEnd = zero === -1 ? block.length : zero;
  ensure(isZero(block, namesEnd, block.length), 'a directory block has bytes behind its names', slot);
  for (let index = 0; index < count; index += 1) {
    const at = index * direntBytes;
    const from = block.readUInt16LE(at + 8);
    const to = index + 1 < count ? block.readUInt16LE(at + direntBytes + 8) : namesEnd;
    ensure(
      from >= namesAt && to > from && to <= namesEnd && to - from <= maxNameBytes,
      'a name is outside its directory block',
      slot,
    );
    const name = block.toString('latin1', from, to);
    ensure(!name.includes('/'), 'a name contains a slash', slot);
    ensure(
      block.readUInt32LE(at + 4) === 0 && block.readUInt8(at + 11) === 0,
      'a name has an invalid inode number',
      slot,
    );
    read.push({ nid: block.readUInt32LE(at), type: block.readUInt8(at + 10), name });
  }
  return read;
}

const zeros = Buffer.alloc(blockBytes);

/** Whether a part of at most one block is zero. */
function isZero(bytes: Buffer, from: number, to: number): boolean {
  return from >= to || bytes.compare(zeros, 0, to - from, from, to) === 0;
}
