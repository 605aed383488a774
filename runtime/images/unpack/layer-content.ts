import { createHash, hash } from 'node:crypto';
import type { Hash } from 'node:crypto';
import { closeSync, futimesSync, writeSync } from 'node:fs';
import { createFile, fileTime, setAttributes } from './layer-files.ts';
import { unwritable } from './layer-error.ts';
import type { Inode } from './layer-tree.ts';
import type { TarEntry } from './tar-metadata.ts';

const emptySha256 = hash('sha256', '', 'hex');

/** Writes the content of one regular file after another, and computes its sha256. */
export interface LayerContent {
  /** Creates the file. Its inode is complete after {@link end}. */
  begin(path: string | Buffer, entry: TarEntry): Inode;
  /** Writes a part of the open file; ignored where no file is open. @throws IMAGES_LAYER_UNWRITABLE */
  data(chunk: Buffer): void;
  /**
   * Sets the attributes of the open file and closes it; no file open: success. @throws
   * IMAGES_LAYER_UNWRITABLE
   */
  end(): void;
}

export function createLayerContent(): LayerContent {
  let open:
    | { readonly fd: number; readonly entry: TarEntry; readonly inode: Inode; hash: Hash | undefined }
    | undefined;

  function begin(path: string | Buffer, entry: TarEntry): Inode {
    const inode: Inode = { mode: entry.mode, size: entry.size, sha256: emptySha256 };
    open = { fd: createFile(path), entry, inode, hash: undefined };
    return inode;
  }

  function data(chunk: Buffer): void {
    if (open === undefined) return;
    try {
      for (let done = 0; done < chunk.length;) done += writeSync(open.fd, chunk, done, chunk.length - done);
    } catch (thrown) {
      throw unwritable(thrown, open.entry.name);
    }
    // For a file in one piece, one call is cheaper than a hash object.
    if (open.hash === undefined && chunk.length === open.entry.size)
      open.inode.sha256 = hash('sha256', chunk, 'hex');
    else (open.hash ??= createHash('sha256')).update(chunk);
  }

  function end(): void {
    if (open === undefined) return;
    const { fd, entry, inode, hash: running } = open;
    open = undefined;
    try {
      if (running !== undefined) inode.sha256 = running.digest('hex');
      setAttributes(fd, entry);
      const time = fileTime(entry.mtime);
      futimesSync(fd, time, time);
    } catch (thrown) {
      throw unwritable(thrown, entry.name);
    } finally {
      closeSync(fd);
    }
  }

  return { begin, data, end };
}
