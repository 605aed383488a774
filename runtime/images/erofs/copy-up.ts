import { closeSync, constants, fstatSync, lstatSync, openSync, readSync, readlinkSync } from 'node:fs';
import { keptXattrs } from '../unpack/copy-up.ts';
import type { LayerBudget } from '../unpack/layer-budget.ts';
import { layerError } from '../unpack/layer-error.ts';
import { fileTime, nativePath } from '../unpack/layer-files.ts';
import type { LowerFolder } from '../unpack/lower-layers.ts';
import { printable } from '../unpack/printable.ts';
import type { TreeDevice, TreeFile, TreeNode, TreeSymlink } from './tree.ts';
import type { XattrPool } from './xattr-pool.ts';

const chunkBytes = 1024 * 1024;

/** The destination of copied content: in the layer file, after the archive. */
export interface ContentWriter {
  /** Begins the content of one more file, at a block; returns its place in the layer file. */
  begin(): number;
  write(part: Buffer): void;
}

/** Parts of the target layer that a copy needs. */
export interface CopyUpDeps {
  readonly content: ContentWriter;
  readonly xattrs: XattrPool;
  readonly budget: LayerBudget;
}

/**
 * Copies a file, symlink or device of a lower layer into this layer, with owner, mode, time and kept
 * attributes. Its bytes count towards the size of the layer, because many small links may lead to large
 * files.
 * @throws IMAGES_LAYER_TOO_LARGE, IMAGES_LAYER_BAD_LINK
 */
export function copyUp(from: LowerFolder, deps: CopyUpDeps): TreeNode {
  const { budget } = deps;
  const source = nativePath(from.layer, from.path);
  const stats = lstatSync(source);
  const { mode, uid, gid } = stats;
  const { mtimeNs } = lstatSync(source, { bigint: true });
  const attributes = { uid, gid, mtime: fileTime(mtimeNs), slot: 0, links: 0 };
  if (stats.isSymbolicLink()) {
    const target = readlinkSync(source, 'latin1');
    budget.keep(target.length, from.path);
    return { kind: 'symlink', target, ...attributes, at: 0 } satisfies TreeSymlink;
  }
  if (stats.isSocket()) throw layerError('IMAGES_LAYER_BAD_LINK', printable(from.path), 'it is a socket');
  if (!stats.isFile()) {
    // Device numbers are packed as in makedev(3) of glibc.
    const [major, minor] = [
      (stats.rdev >>> 8) & 0xfff,
      (stats.rdev & 0xff) | ((stats.rdev >>> 12) & 0xfff00),
    ];
    return { kind: 'device', mode, major, minor, ...attributes } satisfies TreeDevice;
  }
  budget.content(stats.size, from.path);
  return copyFile(source, deps, from.path);
}

function copyFile(source: string | Buffer, { content, xattrs, budget }: CopyUpDeps, on: string): TreeFile {
  using opened = new DisposableStack();
  const input = opened.adopt(openSync(source, constants.O_RDONLY | constants.O_NOFOLLOW), closeSync);
  const stats = fstatSync(input);
  const at = content.begin();
  const buffer = Buffer.allocUnsafe(Math.min(chunkBytes, Math.max(stats.size, 1)));
  let size = 0;
  for (let read = readSync(input, buffer); read > 0; read = readSync(input, buffer)) {
    budget.goOn();
    content.write(buffer.subarray(0, read));
    size += read;
  }
  const attributes = {
    mode: stats.mode & 0o7777,
    uid: stats.uid,
    gid: stats.gid,
    mtime: fileTime(fstatSync(input, { bigint: true }).mtimeNs),
  };
  const kept = xattrs.keep(keptXattrs(input), on);
  return { kind: 'file', ...attributes, size, at: size === 0 ? 0 : at, xattrs: kept, slot: 0, links: 0 };
}
