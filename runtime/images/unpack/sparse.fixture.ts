import { extendedHeader, paxRecord, rawBlock } from './tar.fixture.ts';

/** A sparse file for a test. */
export interface SparseFile {
  readonly size: number;
  readonly pieces: readonly { readonly offset: number; readonly data: Uint8Array }[];
}

const blockSize = 512;

/** GNU tar marks the end of a file that consists of one hole. */
function marked({ size, pieces }: SparseFile): SparseFile['pieces'] {
  return pieces.length === 0 ? [{ offset: size, data: Buffer.alloc(0) }] : pieces;
}

/** Returns the whole content of a file that is small enough. */
export function contentOfSparse({ size, pieces }: SparseFile): Buffer {
  const content = Buffer.alloc(size);
  for (const { offset, data } of pieces) content.set(data, offset);
  return content;
}

function padded(bytes: Uint8Array): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((blockSize - (bytes.length % blockSize)) % blockSize)]);
}

/** Returns the entry of a sparse file as GNU tar writes it with `--format=pax --sparse-version=VERSION`. */
export function sparseByPax(version: '0.0' | '0.1' | '1.0', name: string, file: SparseFile): Buffer {
  const { size } = file;
  const pieces = marked(file);
  const data = Buffer.concat(pieces.map((piece) => piece.data));
  const pairs = pieces.map((piece) => [String(piece.offset), String(piece.data.length)] as const);
  const count = String(pairs.length);
  const records: (readonly [string, string])[] = [['mtime', '1000000000']];
  if (version === '1.0')
    records.push(['GNU.sparse.major', '1'], ['GNU.sparse.minor', '0'], ['GNU.sparse.realsize', String(size)]);
  else records.push(['GNU.sparse.size', String(size)], ['GNU.sparse.numblocks', count]);
  if (version !== '0.0') records.push(['GNU.sparse.name', name]);
  if (version === '0.0')
    for (const [offset, length] of pairs)
      records.push(['GNU.sparse.offset', offset], ['GNU.sparse.numbytes', length]);
  if (version === '0.1') records.push(['GNU.sparse.map', pairs.flat().join(',')]);
  const map =
    version === '1.0' ? padded(Buffer.from(`${[count, ...pairs.flat()].join('\n')}\n`)) : Buffer.alloc(0);
  return Buffer.concat([
    extendedHeader(Buffer.concat(records.map(([key, value]) => paxRecord(key, value)))),
    rawBlock(version === '0.0' ? name : `GNUSparseFile.0/${name}`, '0', map.length + data.length),
    map,
    padded(data),
  ]);
}

/** Returns the same in the old format of GNU tar: the map is in the header, and in blocks that follow it. */
export function oldSparse(name: string, file: SparseFile): Buffer {
  const { size } = file;
  const pieces = marked(file);
  const data = Buffer.concat(pieces.map((piece) => piece.data));
  const octal = (value: number): string => `${value.toString(8).padStart(11, '0')}\0`;
  const header = rawBlock(name, 'S', data.length);
  header.write('07346545000\0', 136, 'latin1');
  header.write('ustar  \0', 257, 'latin1');
  header.write(octal(size), 483, 'latin1');
  const rest = pieces.map((piece) => `${octal(piece.offset)}${octal(piece.data.length)}`);
  const fill = (block: Buffer, pairs: number, moreAt: number): Buffer => {
    block.write(rest.splice(0, pairs).join(''), block === header ? 386 : 0, 'latin1');
    block[moreAt] = rest.length > 0 ? 1 : 0;
    return block;
  };
  const blocks = [fill(header, 4, 482)];
  while (rest.length > 0) blocks.push(fill(Buffer.alloc(blockSize), 21, 504));
  header.fill(' ', 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return Buffer.concat([...blocks, padded(data)]);
}
