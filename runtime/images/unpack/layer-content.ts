import { createHash, hash } from 'node:crypto';
import type { Hash } from 'node:crypto';
import { closeSync, ftruncateSync, writeSync } from 'node:fs';
import { createFile, setAttributes, setFileTime } from './layer-files.ts';
import { unwritable } from './layer-error.ts';
import type { Inode } from './layer-tree.ts';
import type { LayerBudget } from './layer-budget.ts';
import { placePieces } from './sparse.ts';
import type { PiecePlacer } from './sparse.ts';
import { fileSize } from './tar-metadata.ts';
import type { TarEntry } from './tar-metadata.ts';

const emptySha256 = hash('sha256', '', 'hex');
const zeros = Buffer.alloc(1024 * 1024);

/** Writes the content of one regular file after another, and computes its sha256. */
export interface LayerContent {
  /** Creates the file. Its inode is complete after {@link end}. */
  begin(path: string | Buffer, entry: TarEntry): Inode;
  /** Writes a part of the open file; does nothing if no file is open. @throws IMAGES_LAYER_UNWRITABLE */
  data(chunk: Buffer): void;
  /**
   * Sets the attributes of the open file and closes it; succeeds if no file is open. @throws
   * IMAGES_LAYER_UNWRITABLE
   */
  end(): void;
}

/** @param budget of the layer: a hole costs time, because it is part of the digest */
export function createLayerContent(budget: Pick<LayerBudget, 'goOn'>): LayerContent {
  let open: OpenFile | undefined;

  function begin(path: string | Buffer, entry: TarEntry): Inode {
    const { mode, size: stored, sparse } = entry;
    const inode: Inode = { mode, size: fileSize(entry), sha256: emptySha256 };
    if (sparse !== undefined) inode.stored = stored;
    open = {
      fd: createFile(path),
      entry,
      inode,
      hash: undefined,
      placer: sparse && placePieces(sparse),
      at: 0,
    };
    return inode;
  }

  function data(chunk: Buffer): void {
    if (open === undefined) return;
    const file = open;
    if (file.placer !== undefined) {
      for (const { offset, part } of file.placer.place(chunk)) {
        hashZeros(file, offset);
        write(file, part, offset);
        running(file).update(part);
        file.at = offset + part.length;
      }
      return;
    }
    write(file, chunk, undefined);
    // For a file in one piece, one call is cheaper than a hash object.
    if (file.hash === undefined && chunk.length === file.entry.size)
      file.inode.sha256 = hash('sha256', chunk, 'hex');
    else running(file).update(chunk);
  }

  /** A hole reads as zeros. */
  function hashZeros(file: OpenFile, until: number): void {
    for (; file.at < until; file.at += Math.min(zeros.length, until - file.at)) {
      budget.goOn();
      running(file).update(zeros.subarray(0, Math.min(zeros.length, until - file.at)));
    }
  }

  function end(): void {
    if (open === undefined) return;
    const file = open;
    const { fd, entry, inode } = file;
    open = undefined;
    try {
      if (file.placer !== undefined) {
        hashZeros(file, inode.size);
        ftruncateSync(fd, inode.size);
      }
      if (file.hash !== undefined) inode.sha256 = file.hash.digest('hex');
      setAttributes(fd, entry);
      setFileTime(fd, entry.mtime);
    } catch (thrown) {
      throw unwritable(thrown, entry.name);
    } finally {
      closeSync(fd);
    }
  }

  return { begin, data, end };
}

interface OpenFile {
  readonly fd: number;
  readonly entry: TarEntry;
  readonly inode: Inode;
  hash: Hash | undefined;
  /** Places the data of a sparse file. */
  readonly placer: PiecePlacer | undefined;
  /** How much of a sparse file is part of the digest. */
  at: number;
}

const running = (file: OpenFile): Hash => (file.hash ??= createHash('sha256'));

/** @param at where to write; undefined: after what was written last */
function write({ fd, entry }: OpenFile, chunk: Buffer, at: number | undefined): void {
  try {
    for (let done = 0; done < chunk.length;) {
      const place = at === undefined ? null : at + done;
      done += writeSync(fd, chunk, done, chunk.length - done, place);
    }
  } catch (thrown) {
    throw unwritable(thrown, entry.name);
  }
}
