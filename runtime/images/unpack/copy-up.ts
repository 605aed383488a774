import { createHash } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readSync,
  readlinkSync,
  symlinkSync,
  writeSync,
} from 'node:fs';
import { getXattr, listXattr, setTimes } from '../../../base/kernel/index.ts';
import {
  asBytes,
  createFile,
  makeNode,
  nativePath,
  setAttributes,
  setLinkAttributes,
} from './layer-files.ts';
import { layerError } from './layer-error.ts';
import { printable } from './printable.ts';
import type { Node } from './layer-tree.ts';
import type { LayerBudget } from './layer-budget.ts';
import type { LowerFolder } from './lower-layers.ts';
import { isKeptXattr } from './pax.ts';

const chunkBytes = 1024 * 1024;

/**
 * Copies a file, symlink or device of a lower layer to `path`, with owner, mode, times and kept attributes.
 * Its bytes count towards the size of the layer, because many small links may lead to large files. @throws
 * IMAGES_LAYER_TOO_LARGE
 */
export function copyUp(from: LowerFolder, path: string | Buffer, scratch: string, budget: LayerBudget): Node {
  const source = nativePath(from.layer, from.path);
  const stats = lstatSync(source);
  const attributes = {
    mode: stats.mode & 0o7777,
    uid: stats.uid,
    gid: stats.gid,
    mtime: lstatSync(source, { bigint: true }).mtimeNs,
  };
  if (stats.isSymbolicLink()) {
    const target = readlinkSync(source, 'latin1');
    budget.keep(target.length, from.path);
    symlinkSync(asBytes(target), path);
    setLinkAttributes(path, attributes);
    return { kind: 'symlink', target };
  }
  if (!stats.isFile()) {
    // Device numbers are packed as in makedev(3) of glibc. The source is neither a folder nor a socket here.
    const node = {
      mode: stats.mode,
      major: (stats.rdev >>> 8) & 0xfff,
      minor: (stats.rdev & 0xff) | ((stats.rdev >>> 12) & 0xfff00),
    };
    if (stats.isSocket()) throw layerError('IMAGES_LAYER_BAD_LINK', printable(from.path), 'it is a socket');
    makeNode(path, scratch, node);
    setLinkAttributes(path, attributes);
    // mknod(2) is subject to the umask; by the layer's own tree, nothing else can be at this path.
    chmodSync(path, attributes.mode);
    return { kind: 'device', ...node };
  }
  budget.content(stats.size, from.path);
  return copyFile(source, path, budget);
}

function copyFile(source: string | Buffer, path: string | Buffer, budget: LayerBudget): Node {
  using opened = new DisposableStack();
  const input = opened.adopt(openSync(source, constants.O_RDONLY | constants.O_NOFOLLOW), closeSync);
  const stats = fstatSync(input);
  const output = opened.adopt(createFile(path), closeSync);
  const digest = createHash('sha256');
  const buffer = Buffer.allocUnsafe(Math.min(chunkBytes, Math.max(stats.size, 1)));
  let size = 0;
  for (let read = readSync(input, buffer); read > 0; read = readSync(input, buffer)) {
    budget.goOn();
    digest.update(buffer.subarray(0, read));
    for (let done = 0; done < read;) done += writeSync(output, buffer, done, read - done);
    size += read;
  }
  const mode = stats.mode & 0o7777;
  setAttributes(output, { mode, uid: stats.uid, gid: stats.gid, xattrs: keptXattrs(input) });
  const { atimeNs, mtimeNs } = fstatSync(input, { bigint: true });
  setTimes(`/proc/self/fd/${output}`, { atimeNs, mtimeNs, follow: true });
  return { kind: 'file', inode: { mode, size, sha256: digest.digest('hex') } };
}

/** Returns the attributes that an archive could have set; their names are byte strings, as in an archive. */
export function keptXattrs(fd: number): ReadonlyMap<string, Uint8Array> | undefined {
  const path = `/proc/self/fd/${fd}`;
  const kept = listXattr(path, { follow: true, encoding: 'latin1' }).filter(isKeptXattr);
  if (kept.length === 0) return undefined;
  return new Map(
    kept.map((name) => [name, getXattr(path, asBytes(name), { follow: true }) ?? new Uint8Array()]),
  );
}
