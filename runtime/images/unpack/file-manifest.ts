import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readSync,
  readlinkSync,
  writeSync,
} from 'node:fs';
import type { Stats } from 'node:fs';
import { leavesUnknown } from '../../../base/errors/index.ts';
import { parseJson } from '../../../base/json/index.ts';
import type { LayerBudget } from './layer-budget.ts';
import { layerError } from './layer-error.ts';
import { nativePath } from './layer-files.ts';
import { join } from './layer-tree.ts';
import { printable } from './printable.ts';
import type { Folder, Node } from './layer-tree.ts';

/**
 * The per-file manifest of an unpacked layer: one JSON object per line, in the order of the tree. It links
 * the files on disk to the signed digest: signature → manifest → layer → diff id → this file.
 *
 * - `p` path (byte string)
 * - `t` type (d f l w n: folder, file, symlink, whiteout, device)
 * - `m` mode, `s` size, `h` sha256, `l` target
 */
type Line =
  | { readonly p: string; readonly t: 'd'; readonly m?: number }
  | { readonly p: string; readonly t: 'f'; readonly m: number; readonly s: number; readonly h: string }
  | { readonly p: string; readonly t: 'l'; readonly l: string }
  | { readonly p: string; readonly t: 'w' }
  | { readonly p: string; readonly t: 'n'; readonly m: number };

export interface FileManifest {
  /** sha256 of the file, in hex. */
  readonly sha256: string;
  /** The disk usage of the files, in blocks of 4 KiB. */
  readonly bytes: number;
  readonly inodes: number;
}

const diskBlock = 4096;
const flushLength = 256 * 1024;
/** Below the longest string of V8 (512 MiB): a check of the layer reads the whole manifest at once. */
const maxManifestBytes = 400 * 1024 * 1024;

/** Writes the manifest of the tree to `path`, which must not exist. @throws IMAGES_LAYER_TOO_LARGE */
export function writeFileManifest(root: Folder, path: string, budget: LayerBudget): FileManifest {
  const digest = createHash('sha256');
  using opened = new DisposableStack();
  const fd = opened.adopt(openSync(path, 'wx', 0o600), closeSync);
  let text = '';
  let length = 0;
  const flush = (): void => {
    const chunk = Buffer.from(text);
    text = '';
    length += chunk.length;
    if (length > maxManifestBytes)
      throw layerError(
        'IMAGES_LAYER_TOO_LARGE',
        'layer',
        `the list of its files has more than ${maxManifestBytes} bytes`,
      );
    digest.update(chunk);
    for (let done = 0; done < chunk.length;) done += writeSync(fd, chunk, done);
  };
  const usage = forEachLine(root, (line) => {
    budget.goOn();
    text += `${JSON.stringify(line)}\n`;
    if (text.length >= flushLength) flush();
  });
  flush();
  return { sha256: digest.digest('hex'), ...usage };
}

function forEachLine(root: Folder, write: (line: Line) => void): Pick<FileManifest, 'bytes' | 'inodes'> {
  let bytes = 0;
  const inodes = new Set<object>();
  const stack: Folder[] = [root];
  write({ p: '', t: 'd', ...(root.explicit ? { m: root.mode } : {}) });
  for (let folder = stack.pop(); folder !== undefined; folder = stack.pop()) {
    inodes.add(folder);
    bytes += diskBlock;
    for (const [name, node] of folder.children) {
      write(lineOf(join(folder, name), node));
      if (node.kind === 'folder') {
        stack.push(node);
      } else {
        const inode = node.kind === 'file' ? node.inode : node;
        if (node.kind === 'file' && !inodes.has(inode))
          bytes += Math.ceil((node.inode.stored ?? node.inode.size) / diskBlock) * diskBlock;
        inodes.add(inode);
      }
    }
  }
  return { bytes, inodes: inodes.size };
}

function lineOf(p: string, node: Node): Line {
  switch (node.kind) {
    case 'folder':
      return { p, t: 'd', m: node.mode };
    case 'file':
      return { p, t: 'f', m: node.inode.mode, s: node.inode.size, h: node.inode.sha256 };
    case 'symlink':
      return { p, t: 'l', l: node.target };
    case 'whiteout':
      return { p, t: 'w' };
    case 'device':
      return { p, t: 'n', m: node.mode };
    case 'pending-link':
      throw new Error(`the hard link ${printable(p)} was never settled`);
  }
}

/**
 * Compares a layer on disk with its manifest. Returns the names of files that differ, at most `limit`. Does
 * not look for files that are not in the manifest.
 */
export function verifyFiles(layer: string, manifest: string, limit = 20): string[] {
  const bad: string[] = [];
  const buffer = Buffer.allocUnsafe(1024 * 1024);
  for (let at = 0, end = 0; at < manifest.length; at = end + 1) {
    end = manifest.indexOf('\n', at);
    if (end === -1) end = manifest.length;
    if (end === at) continue;
    const line = parseJson(manifest.slice(at, end)) as Line;
    if (!matches(nativePath(layer, line.p), line, buffer)) bad.push(printable(line.p));
    if (bad.length >= limit) break;
  }
  return bad;
}

function matches(path: string | Buffer, line: Line, buffer: Buffer): boolean {
  try {
    if (line.t === 'f') return fileMatches(path, line, buffer);
    const stats = lstatSync(path);
    switch (line.t) {
      case 'd':
        return stats.isDirectory() && (line.m === undefined || (stats.mode & 0o7777) === line.m);
      case 'l':
        return stats.isSymbolicLink() && readlinkSync(path, 'latin1') === line.l;
      case 'w':
        return stats.isCharacterDevice() && stats.rdev === 0;
      case 'n':
        return isNode(stats) && stats.mode === line.m;
    }
  } catch (thrown) {
    // This failure does not concern the file: the caller tries again.
    if (leavesUnknown(thrown)) throw thrown;
    return false;
  }
}

function isNode(stats: Stats): boolean {
  return stats.isCharacterDevice() || stats.isBlockDevice() || stats.isFIFO();
}

function fileMatches(path: string | Buffer, line: Line & { readonly t: 'f' }, buffer: Buffer): boolean {
  // O_NONBLOCK: opening a FIFO in place of the file must not block.
  using opened = new DisposableStack();
  const fd = opened.adopt(
    openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK),
    closeSync,
  );
  const stats = fstatSync(fd);
  if (!stats.isFile() || stats.size !== line.s || (stats.mode & 0o7777) !== line.m) return false;
  const digest = createHash('sha256');
  for (let read = readSync(fd, buffer); read > 0; read = readSync(fd, buffer))
    digest.update(buffer.subarray(0, read));
  return digest.digest('hex') === line.h;
}
