import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';

export const sectorBytes = 512;
/** Partitions begin at a multiple of this, in sectors: 1 MiB, as all tools do. */
const alignment = 2048;
const entryBytes = 128;
const entryCount = 128;
/** Sectors of the array of entries. */
const arraySectors = (entryBytes * entryCount) / sectorBytes;
const headerBytes = 92;

/** Types of partitions (UEFI 2.10, 5.3.3, and the Discoverable Partitions Specification). */
export const partitionTypes = {
  esp: 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b',
  linux: '0fc63daf-8483-4772-8e79-3d69d8477de4',
} as const;

export interface PartitionAsk {
  /** At most 36 characters. The boot finds the partition by it. */
  readonly name: string;
  readonly type: keyof typeof partitionTypes;
  /** Size in bytes: a whole number of MiB. */
  readonly bytes: number;
}

export interface PlacedPartition extends PartitionAsk {
  /** Offset of the first byte on the disk. */
  readonly at: number;
}

export interface PartitionTable {
  readonly partitions: readonly PlacedPartition[];
  /** Size of the disk in bytes. */
  readonly diskBytes: number;
  /** The sectors before the first partition. */
  readonly head: Buffer;
  /** The copy of the table, which is at the end of the disk. */
  readonly tail: Buffer;
}

/**
 * Places partitions one after the other, and writes a GUID partition table with a protective MBR (UEFI 2.10,
 * chapter 5). The GUIDs are derived from the names, so that the same input gives the same bytes.
 * @param name of the image, for the GUIDs
 */
export function partitionTable(name: string, asked: readonly PartitionAsk[]): PartitionTable {
  let next = alignment;
  const partitions = asked.map((one) => {
    const placed = { ...one, at: next * sectorBytes };
    next += Math.ceil(one.bytes / sectorBytes / alignment) * alignment;
    return placed;
  });
  // The copy needs 33 sectors. A whole MiB keeps the size of the disk a round number.
  const sectors = next + alignment;
  const array = Buffer.alloc(entryBytes * entryCount);
  for (const [index, one] of partitions.entries()) writeEntry(array, index, name, one);
  const header = (at: number, other: number, arrayAt: number): Buffer =>
    headerOf({ at, other, arrayAt, array, sectors, disk: guidOf(name) });
  const head = Buffer.alloc(alignment * sectorBytes);
  protectiveRecord(sectors).copy(head);
  header(1, sectors - 1, 2).copy(head, sectorBytes);
  array.copy(head, 2 * sectorBytes);
  const tail = Buffer.concat([array, header(sectors - 1, 1, sectors - 1 - arraySectors)]);
  return { partitions, diskBytes: sectors * sectorBytes, head, tail };
}

function writeEntry(array: Buffer, index: number, image: string, { name, type, bytes, at }: PlacedPartition) {
  if (name.length > 36) throw new Error(`the name of the partition ${name} has more than 36 characters`);
  const entry = array.subarray(index * entryBytes, (index + 1) * entryBytes);
  mixedEndian(partitionTypes[type]).copy(entry);
  mixedEndian(guidOf(`${image}/${name}`)).copy(entry, 16);
  entry.writeBigUInt64LE(BigInt(at / sectorBytes), 32);
  entry.writeBigUInt64LE(BigInt((at + bytes) / sectorBytes - 1), 40);
  entry.write(name, 56, 'utf16le');
}

interface HeaderInput {
  readonly at: number;
  readonly other: number;
  readonly arrayAt: number;
  readonly array: Buffer;
  readonly sectors: number;
  readonly disk: string;
}

/** Writes one of the two headers (UEFI 2.10, table 5.5). */
function headerOf({ at, other, arrayAt, array, sectors, disk }: HeaderInput): Buffer {
  const header = Buffer.alloc(sectorBytes);
  header.write('EFI PART', 'latin1');
  header.writeUInt32LE(0x0001_0000, 8);
  header.writeUInt32LE(headerBytes, 12);
  header.writeBigUInt64LE(BigInt(at), 24);
  header.writeBigUInt64LE(BigInt(other), 32);
  header.writeBigUInt64LE(BigInt(2 + arraySectors), 40);
  header.writeBigUInt64LE(BigInt(sectors - 2 - arraySectors), 48);
  mixedEndian(disk).copy(header, 56);
  header.writeBigUInt64LE(BigInt(arrayAt), 72);
  header.writeUInt32LE(entryCount, 80);
  header.writeUInt32LE(entryBytes, 84);
  header.writeUInt32LE(crc32(array), 88);
  header.writeUInt32LE(crc32(header.subarray(0, headerBytes)), 16);
  return header;
}

/** One partition of type EE over the whole disk: tools that do not know GPT leave the disk alone. */
function protectiveRecord(sectors: number): Buffer {
  const record = Buffer.alloc(sectorBytes);
  record.set([0x00, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff], 446);
  record.writeUInt32LE(1, 454);
  record.writeUInt32LE(Math.min(sectors - 1, 0xffff_ffff), 458);
  record.set([0x55, 0xaa], 510);
  return record;
}

/** Returns a UUID of version 8 (RFC 9562, 5.8) for a name. */
export function guidOf(name: string): string {
  const bytes = createHash('sha256').update(`portcullis node image/${name}`).digest().subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/u, '$1-$2-$3-$4-');
}

/** Returns a GUID as UEFI stores it: the first three groups are little-endian. */
function mixedEndian(guid: string): Buffer {
  const bytes = Buffer.from(guid.replaceAll('-', ''), 'hex');
  bytes.subarray(0, 4).reverse();
  bytes.subarray(4, 6).reverse();
  bytes.subarray(6, 8).reverse();
  return bytes;
}
