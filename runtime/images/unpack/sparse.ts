import { layerError } from './layer-error.ts';
import { blockSize, numericField } from './tar-header.ts';

/** Where the data of a sparse file belongs. Everything else in the file is a hole, and reads as zeros. */
export interface SparseMap {
  /** Length of the file. */
  readonly size: number;
  /**
   * Offset and length of each piece of data, alternating: ascending, apart from each other, none of them
   * empty.
   */
  readonly pieces: readonly number[];
}

/** Places the data of a sparse file. */
export interface PiecePlacer {
  /** Yields the parts of the next bytes of data, with their places in the file. */
  place(data: Buffer): Generator<{ readonly offset: number; readonly part: Buffer }>;
}

export function placePieces({ pieces }: SparseMap): PiecePlacer {
  /** Index of the piece, and how much of it was placed. */
  let [piece, done] = [0, 0];
  return {
    *place(data) {
      for (let at = 0; at < data.length;) {
        const [offset = 0, length = 0] = [pieces[piece], pieces[piece + 1]];
        const part = data.subarray(at, at + Math.min(length - done, data.length - at));
        yield { offset: offset + done, part };
        [at, done] = [at + part.length, done + part.length];
        if (done === length) [piece, done] = [piece + 2, 0];
      }
    },
  };
}

/** The map of a sparse file, possibly incomplete. */
export interface SparseMapReader {
  /** Whether blocks of the map are part of the entry's body. Otherwise they come before it. */
  readonly isInBody: boolean;
  /** Whether all of the map was read. */
  isComplete(): boolean;
  /** Reads the next block of the map. @throws IMAGES_LAYER_CORRUPT, IMAGES_LAYER_TOO_LARGE */
  push(buffer: Buffer, offset: number): void;
  /**
   * Returns the complete map.
   * @param stored the number of bytes of data that follow
   * @throws IMAGES_LAYER_CORRUPT when the pieces overlap, exceed the file, or do not match the stored data
   */
  map(stored: number): SparseMap;
}

/** Limit of one map, as in Go's archive/tar. */
export const maxMapBytes = 1024 * 1024;
/** The shortest piece in a map of decimal numbers has a digit and a separator for each of its two numbers. */
const maxPieces = maxMapBytes / 4;
const newline = 10;

/** The records `GNU.sparse.*` of a pax header. */
export interface SparseRecords {
  major?: string;
  minor?: string;
  /** Length of the file: `GNU.sparse.size`, or `realsize` in version 1.0. */
  size?: number;
  numBlocks?: number;
  /** Version 0.0: `offset` and `numbytes`, repeated alternately. */
  pairs?: number[];
  /** Version 0.1: the same in one list. */
  map?: readonly number[];
  name?: string;
}

/**
 * Returns the reader of the map that the records of a pax header describe. Versions 0.0 and 0.1 have the map
 * in the header, version 1.0 at the start of the body. Source: GNU tar manual, "Storing Sparse Files"; the
 * versions are distinguished as in Go's archive/tar.
 * @throws IMAGES_LAYER_CORRUPT, IMAGES_LAYER_UNSUPPORTED
 */
export function sparseOfRecords({
  major,
  minor,
  size,
  numBlocks,
  pairs,
  map,
}: SparseRecords): SparseMapReader {
  if (size === undefined)
    throw corrupt('the pax header of a sparse file does not contain the size of the file');
  const version = major === undefined && minor === undefined ? undefined : `${major ?? ''}.${minor ?? ''}`;
  if (version === '1.0') return sparseOfBody(size);
  if (version !== undefined && version !== '0.0' && version !== '0.1')
    throw layerError(
      'IMAGES_LAYER_UNSUPPORTED',
      'pax header',
      `version ${JSON.stringify(version)} of sparse files is not supported`,
    );
  if (pairs !== undefined && map !== undefined) throw corrupt('a sparse file has two maps');
  const numbers = pairs ?? map;
  if (numbers === undefined || numBlocks === undefined || numbers.length !== 2 * numBlocks)
    throw corrupt('the number of pieces in the map of a sparse file differs from its header');
  // Other readers take it for a file that is not sparse.
  if (version === undefined && numbers.length === 0) throw corrupt('the map of a sparse file is empty');
  return complete(size, numbers);
}

/** Decimal numbers, each with a newline: the number of pieces, then their offsets and lengths. */
function sparseOfBody(size: number): SparseMapReader {
  const numbers: number[] = [];
  let [pieces, bytes, text] = [-1, 0, ''];
  const isComplete = (): boolean => numbers.length === 2 * pieces;
  function take(value: string): void {
    const number = decimal(value);
    if (pieces !== -1) numbers.push(number);
    else if (number > maxPieces) throw tooLarge();
    else pieces = number;
  }
  return {
    isInBody: true,
    isComplete,
    push(buffer, offset) {
      bytes += blockSize;
      if (bytes > maxMapBytes) throw tooLarge();
      for (let at = offset; at < offset + blockSize && !isComplete(); at += 1) {
        const byte = buffer[at] as number;
        if (byte === newline) {
          take(text);
          text = '';
        } else {
          text += String.fromCharCode(byte);
          if (text.length > maxDigits) throw corrupt('the map of a sparse file is malformed');
        }
      }
    },
    map: (stored) => checkedMap(size, numbers, stored),
  };
}

// GNU tar's old format: struct oldgnu_header and struct sparse_header.
const pairBytes = 24;
const header = { pairsAt: 386, pairs: 4, moreAt: 482, sizeAt: 483 } as const;
const extension = { pairsAt: 0, pairs: 21, moreAt: 504 } as const;

/**
 * Returns the reader of the map in a header of type `S`, and in the blocks that follow it.
 * Source: GNU tar manual, "Old GNU Format".
 */
export function sparseOfHeader(buffer: Buffer, offset: number): SparseMapReader {
  const numbers: number[] = [];
  const size = numericField(buffer, offset + header.sizeAt, 12, 'realsize');
  let isMore = readPairs(buffer, offset, header, numbers);
  let bytes = 0;
  return {
    isInBody: false,
    isComplete: () => !isMore,
    push(block, at) {
      bytes += blockSize;
      if (bytes > maxMapBytes) throw tooLarge();
      isMore = readPairs(block, at, extension, numbers);
    },
    map: (stored) => checkedMap(size, numbers, stored),
  };
}

/** Reads the pairs of one block. Returns whether a further block follows. */
function readPairs(
  buffer: Buffer,
  offset: number,
  { pairsAt, pairs, moreAt }: { readonly pairsAt: number; readonly pairs: number; readonly moreAt: number },
  numbers: number[],
): boolean {
  for (let index = 0; index < pairs; index += 1) {
    const at = offset + pairsAt + index * pairBytes;
    if (buffer[at] === 0) break;
    numbers.push(numericField(buffer, at, 12, 'offset'), numericField(buffer, at + 12, 12, 'numbytes'));
  }
  return buffer[offset + moreAt] !== 0;
}

function complete(size: number, numbers: readonly number[]): SparseMapReader {
  return {
    isInBody: false,
    isComplete: () => true,
    push() {
      throw new Error('the map is complete');
    },
    map: (stored) => checkedMap(size, numbers, stored),
  };
}

function checkedMap(size: number, numbers: readonly number[], stored: number): SparseMap {
  const pieces: number[] = [];
  let [end, sum] = [0, 0];
  for (let at = 0; at < numbers.length; at += 2) {
    const [offset, length] = [numbers[at] as number, numbers[at + 1] as number];
    if (offset < end || offset + length > size)
      throw corrupt('the map of a sparse file has pieces that overlap, or are outside the file');
    end = offset + length;
    sum += length;
    if (length > 0) pieces.push(offset, length);
  }
  if (sum !== stored)
    throw corrupt(`the map of a sparse file has ${sum} bytes of data, and the archive ${stored}`);
  return { size, pieces };
}

const maxDigits = 15;

/** Parses a decimal number of a map. */
export function decimal(text: string): number {
  if (!/^[0-9]{1,15}$/.test(text)) throw corrupt('the map of a sparse file is malformed');
  return Number(text);
}

function corrupt(why: string): Error {
  return layerError('IMAGES_LAYER_CORRUPT', 'sparse file', why);
}

function tooLarge(): Error {
  return layerError('IMAGES_LAYER_TOO_LARGE', 'sparse file', `its map has more than ${maxMapBytes} bytes`);
}
