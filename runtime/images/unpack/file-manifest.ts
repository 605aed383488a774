import { createHash } from 'node:crypto';
import { closeSync, constants, fstatSync, lstatSync, openSync, readSync, readlinkSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { nativePath } from './layer-files.ts';
import { join, printable } from './layer-tree.ts';
import type { Folder, Node } from './layer-tree.ts';

/**
 * The per-file manifest of an unpacked layer: one JSON object a line, in the order of the tree.
 * `p` path (byte string), `t` type (d f l w n: folder, file, symlink, whiteout, device), `m` mode, `s` size, `h` sha256, `l` target.
 * It ties what lies on disk to the signed digest: signature → manifest → layer → diff id → this.
 */
type Line =
  | { readonly p: string; readonly t: 'd'; readonly m?: number }
  | { readonly p: string; readonly t: 'f'; readonly m: number; readonly s: number; readonly h: string }
  | { readonly p: string; readonly t: 'l'; readonly l: string }
  | { readonly p: string; readonly t: 'w' }
  | { readonly p: string; readonly t: 'n'; readonly m: number };

export interface FileManifest {
  readonly text: string;
  /** What the files take on disk, in blocks of 4 KiB. */
  readonly bytes: number;
  readonly inodes: number;
}

const diskBlock = 4096;

export function fileManifest(root: Folder): FileManifest {
  const lines: string[] = [];
  let bytes = 0;
  const inodes = new Set<object>();
  const stack: Folder[] = [root];
  lines.push(JSON.stringify({ p: '', t: 'd', ...(root.explicit ? { m: root.mode } : {}) } satisfies Line));
  for (let folder = stack.pop(); folder !== undefined; folder = stack.pop()) {
    inodes.add(folder);
    bytes += diskBlock;
    for (const [name, node] of folder.children) {
      lines.push(JSON.stringify(lineOf(join(folder, name), node)));
      if (node.kind === 'folder') {
        stack.push(node);
      } else {
        const inode = node.kind === 'file' ? node.inode : node;
        if (node.kind === 'file' && !inodes.has(inode)) bytes += Math.ceil(node.inode.size / diskBlock) * diskBlock;
        inodes.add(inode);
      }
    }
  }
  return { text: `${lines.join('\n')}\n`, bytes, inodes: inodes.size };
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

/** Compares a layer on disk with its manifest; the names of what differs, at most `limit`. Files that the manifest does not know are not looked for. */
export function verifyFiles(layer: string, manifest: string, limit = 20): string[] {
  const bad: string[] = [];
  const buffer = Buffer.allocUnsafe(1024 * 1024);
  for (const text of manifest.split('\n')) {
    if (text === '') continue;
    const line = JSON.parse(text) as Line;
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
  } catch {
    return false;
  }
}

function isNode(stats: Stats): boolean {
  return stats.isCharacterDevice() || stats.isBlockDevice() || stats.isFIFO();
}

function fileMatches(path: string | Buffer, line: Line & { readonly t: 'f' }, buffer: Buffer): boolean {
  // O_NONBLOCK: a fifo in the file's place must not hold us.
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const stats = fstatSync(fd);
    if (!stats.isFile() || stats.size !== line.s || (stats.mode & 0o7777) !== line.m) return false;
    const digest = createHash('sha256');
    for (let read = readSync(fd, buffer); read > 0; read = readSync(fd, buffer)) digest.update(buffer.subarray(0, read));
    return digest.digest('hex') === line.h;
  } finally {
    closeSync(fd);
  }
}
