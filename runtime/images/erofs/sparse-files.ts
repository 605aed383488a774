import type { LayerBudget } from '../unpack/layer-budget.ts';
import { blockBytes, chunkBytes, holeAddress } from './format.ts';
import type { LayerFileWriter } from './layer-file.ts';
import { eachFolder } from './tree.ts';
import type { TreeFile, TreeFolder } from './tree.ts';

/**
 * Gives each chunk of the sparse files of a tree its place. In the archive, the pieces of a file follow each
 * other: a chunk that lies in one piece, and at a block of the archive, stays where it is. Any other chunk
 * with data is assembled behind the archive. A hole has no place. Call it when the archive is complete.
 */
export function placeSparseFiles(root: TreeFolder, file: LayerFileWriter, budget: LayerBudget): void {
  const buffer = Buffer.alloc(chunkBytes);
  eachFolder(root, (folder) => {
    for (const node of folder.children.values()) {
      budget.goOn();
      // A file with several names is placed once.
      if (node.kind !== 'file' || node.sparse === undefined || node.chunks !== undefined) continue;
      node.chunks = placeChunks(node, node.sparse.pieces, file, budget, buffer);
    }
  });
}

function placeChunks(
  { size, at }: TreeFile,
  pieces: readonly number[],
  file: LayerFileWriter,
  budget: LayerBudget,
  buffer: Buffer,
): Uint32Array {
  const chunks = new Uint32Array(Math.ceil(size / chunkBytes)).fill(holeAddress);
  const offsetOf = (piece: number): number => pieces[piece] ?? 0;
  const lengthOf = (piece: number): number => pieces[piece + 1] ?? 0;
  const endOf = (piece: number): number => offsetOf(piece) + lengthOf(piece);
  /** Index of the piece, the place of its data in the layer file, and the number of the chunk. */
  let [piece, data, chunk] = [0, at, 0];
  for (;;) {
    budget.goOn();
    for (; piece < pieces.length && endOf(piece) <= chunk * chunkBytes; piece += 2) data += lengthOf(piece);
    if (piece >= pieces.length) return chunks;
    chunk = Math.max(chunk, Math.floor(offsetOf(piece) / chunkBytes));
    const from = chunk * chunkBytes;
    const to = Math.min(from + chunkBytes, size);
    const place = data + from - offsetOf(piece);
    if (offsetOf(piece) <= from && endOf(piece) >= to && place % blockBytes === 0) {
      chunks[chunk] = place / blockBytes;
    } else {
      buffer.fill(0);
      for (let [each, start] = [piece, data]; each < pieces.length && offsetOf(each) < to; each += 2) {
        const [first, last] = [Math.max(offsetOf(each), from), Math.min(endOf(each), to)];
        file.readArchive(buffer.subarray(first - from, last - from), start + first - offsetOf(each));
        start += lengthOf(each);
      }
      chunks[chunk] = file.copies.begin() / blockBytes;
      file.copies.write(buffer.subarray(0, to - from));
    }
    chunk += 1;
  }
}
