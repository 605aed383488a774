import { createHash, hash } from 'node:crypto';
import type { Hash } from 'node:crypto';
import { chmodSync, closeSync, futimesSync, linkSync, rmdirSync, symlinkSync, unlinkSync, writeSync } from 'node:fs';
import {
  asBytes,
  createFile,
  fileTime,
  makeFolder,
  makeNode,
  nativePath,
  setAttributes,
  setLinkAttributes,
  setOpaque,
  withFolder,
} from './layer-files.ts';
import { layerError } from './layer-error.ts';
import { join, maxNameLength, newFolder, resolvePlace, splitName } from './layer-tree.ts';
import { printable } from './printable.ts';
import type { File, Folder, Inode, Node, PendingLink, Place } from './layer-tree.ts';
import type { LayerBudget } from './layer-budget.ts';
import type { TarEntry, TarSink } from './tar-reader.ts';
import { errnoOf, wrapImageError } from '../failures.ts';

/** Type bits of stat(2). */
const S_IFIFO = 0o010000;
const S_IFCHR = 0o020000;
const S_IFBLK = 0o060000;
/** uid and gid with all bits set mean "unchanged" to chown(2). */
const maxId = 0xffff_fffe;
/** The memory that an extended attribute takes in addition to its bytes. */
const xattrOverhead = 256;
const emptySha256 = hash('sha256', '', 'hex');

export interface LayerWriter extends TarSink {
  readonly root: Folder;
  /** Creates a folder that no entry describes yet. */
  makeFolder(parent: Folder, name: string): Folder;
  makeOpaque(folder: Folder): void;
  /**
   * Counts a folder's extended attributes, which stay in memory until the end. @throws IMAGES_LAYER_TOO_LARGE
   */
  keepXattrs(folder: Folder): void;
  /** Sets folder attributes last: writing into a folder changes its time. */
  finish(): void;
}

/**
 * Writes the entries of one layer archive into the empty folder `folder`, in the form of a lower layer of
 * overlayfs. Two things cannot be known from one layer: hard links to files of the layers below, and the
 * attributes of folders that the archive does not list. The tree keeps them as `pending-link` and as folders
 * that are not `explicit`.
 * Source: image-spec layer.md ("Applying Changesets"); overlayfs.rst ("whiteouts and opaque directories").
 * @param scratch a free path on the same file system, beside `folder`
 * @param budget the budget for unpacking the layer
 */
export function createLayerWriter(folder: string, scratch: string, budget: LayerBudget): LayerWriter {
  const root = newFolder(undefined, '');
  let open: { readonly fd: number; readonly entry: TarEntry; readonly inode: Inode; hash: Hash | undefined } | undefined;
  /** Consecutive entries are mostly in the same folder. */
  let lastParent: { readonly name: string; readonly folder: Folder } | undefined;

  const at = (place: Place): string | Buffer => nativePath(folder, join(place.folder, place.name));

  function begin(entry: TarEntry): void {
    budget.content(entry.size, entry.name);
    if (entry.uid > maxId || entry.gid > maxId)
      throw layerError('IMAGES_LAYER_UNSUPPORTED', printable(entry.name), 'its owner is out of range');
    try {
      write(entry);
    } catch (thrown) {
      throw unwritable(thrown, entry.name);
    }
  }

  function write(entry: TarEntry): void {
    const place = placeOf(entry.name);
    if (place === undefined) {
      budget.entry('');
      if (entry.type !== 'directory') throw layerError('IMAGES_LAYER_BAD_NAME', printable(entry.name), 'only a folder can be the root');
      describe(root, entry);
      return;
    }
    budget.entry(join(place.folder, place.name));
    if (place.name.startsWith('.wh.')) {
      whiteout(place, entry.name);
      return;
    }
    if (entry.type === 'directory') {
      describe(folderAt(place), entry);
      return;
    }
    if (entry.type === 'hard-link') refuseSelfLink(place, entry);
    clear(place);
    if (entry.type === 'file') beginFile(place, entry);
    else if (entry.type === 'symlink') addSymlink(place, entry);
    else if (entry.type === 'hard-link') addHardLink(place, entry);
    else addDevice(place, entry);
  }

  function placeOf(name: string): Place | undefined {
    const slash = name.lastIndexOf('/');
    // Fast path: a plain name in the folder of the previous entry. Entries that replace nodes reset it.
    if (lastParent !== undefined && slash > 0 && slash < name.length - 1 && name.slice(0, slash) === lastParent.name) {
      const last = name.slice(slash + 1);
      if (last !== '.' && last !== '..' && last.length <= maxNameLength) return { folder: lastParent.folder, name: last };
    }
    const parts = splitName(name);
    if (parts.length === 0) return undefined;
    const place = resolvePlace(root, parts, budget, listedLater);
    if (place !== undefined && slash > 0 && slash < name.length - 1) lastParent = { name: name.slice(0, slash), folder: place.folder };
    return place;
  }

  /** Creates a folder on the way to an entry: the archive may describe it later. */
  function listedLater(parent: Folder, name: string): Folder {
    budget.folder(join(parent, name));
    return implicitFolder(parent, name);
  }

  function implicitFolder(parent: Folder, name: string): Folder {
    const hides = parent.children.get(name)?.kind === 'whiteout';
    if (hides) unlinkSync(nativePath(folder, join(parent, name)));
    const made = newFolder(parent, name);
    budget.keep(made.path.length, made.path);
    const path = nativePath(folder, made.path);
    makeFolder(path);
    chmodSync(path, made.mode);
    parent.children.set(name, made);
    if (hides) makeOpaque(made);
    return made;
  }

  function folderAt(place: Place): Folder {
    const existing = place.folder.children.get(place.name);
    if (existing?.kind === 'folder') return existing;
    if (existing !== undefined && existing.kind !== 'whiteout') clear(place);
    return implicitFolder(place.folder, place.name);
  }

  function describe(target: Folder, entry: TarEntry): void {
    target.explicit = true;
    target.mode = entry.mode;
    target.uid = entry.uid;
    target.gid = entry.gid;
    target.mtime = entry.mtime;
    target.xattrs = entry.xattrs;
    keepXattrs(target);
  }

  function keepXattrs(target: Folder): void {
    for (const [name, value] of target.xattrs ?? []) budget.keep(name.length + value.length + xattrOverhead, target.path);
  }

  function makeOpaque(target: Folder): void {
    if (target.opaque) return;
    target.opaque = true;
    setOpaque(nativePath(folder, target.path));
  }

  /** Removes the result of an earlier entry: the last entry wins, whatever its type. */
  function clear(place: Place): void {
    const existing = place.folder.children.get(place.name);
    if (existing === undefined) return;
    if (existing.kind === 'folder') {
      lastParent = undefined;
      removeTree(existing);
    } else if (existing.kind !== 'pending-link') {
      if (existing.kind === 'symlink') lastParent = undefined;
      unlinkSync(at(place));
    }
    place.folder.children.delete(place.name);
  }

  /** Removes a folder with everything that this layer wrote there; can be cancelled meanwhile. */
  function removeTree(target: Folder): void {
    const order: Folder[] = [];
    const stack: Folder[] = [target];
    for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
      order.push(next);
      for (const [name, node] of next.children) {
        budget.goOn();
        if (node.kind === 'folder') stack.push(node);
        else if (node.kind !== 'pending-link') unlinkSync(nativePath(folder, join(next, name)));
      }
    }
    for (const each of order.reverse()) {
      budget.goOn();
      rmdirSync(nativePath(folder, each.path));
    }
  }

  /** `.wh.NAME` hides NAME of the layers below, never of this one, whichever comes first. */
  function whiteout(place: Place, name: string): void {
    if (place.name === '.wh..wh..opq') {
      makeOpaque(place.folder);
      return;
    }
    // Other marks are internal to AUFS and carry no file.
    if (place.name.startsWith('.wh..wh.')) return;
    const target = place.name.slice('.wh.'.length);
    if (target === '' || target === '.' || target === '..')
      throw layerError('IMAGES_LAYER_BAD_NAME', printable(name), 'the whiteout names nothing');
    const existing = place.folder.children.get(target);
    if (existing?.kind === 'folder') makeOpaque(existing);
    if (existing !== undefined) return;
    const hidden: Place = { folder: place.folder, name: target };
    makeNode(at(hidden), scratch, { mode: S_IFCHR, major: 0, minor: 0 });
    place.folder.children.set(target, { kind: 'whiteout' });
  }

  function beginFile(place: Place, entry: TarEntry): void {
    const inode: Inode = { mode: entry.mode, size: entry.size, sha256: emptySha256 };
    open = { fd: createFile(at(place)), entry, inode, hash: undefined };
    place.folder.children.set(place.name, { kind: 'file', inode });
  }

  function data(chunk: Buffer): void {
    if (open === undefined) return;
    try {
      for (let done = 0; done < chunk.length;) done += writeSync(open.fd, chunk, done, chunk.length - done);
    } catch (thrown) {
      throw unwritable(thrown, open.entry.name);
    }
    // For a file in one piece, one call is cheaper than a hash object.
    if (open.hash === undefined && chunk.length === open.entry.size) open.inode.sha256 = hash('sha256', chunk, 'hex');
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

  function addSymlink(place: Place, entry: TarEntry): void {
    if (entry.linkName === '') throw layerError('IMAGES_LAYER_BAD_LINK', printable(entry.name), 'the symlink has no target');
    lastParent = undefined;
    budget.keep(entry.linkName.length, entry.name);
    symlinkSync(asBytes(entry.linkName), at(place));
    setLinkAttributes(at(place), entry);
    place.folder.children.set(place.name, { kind: 'symlink', target: entry.linkName });
  }

  function refuseSelfLink(place: Place, entry: TarEntry): void {
    const target = resolvePlace(root, splitName(entry.linkName), budget);
    if (target !== undefined && target.folder === place.folder && target.name === place.name) {
      throw layerError('IMAGES_LAYER_BAD_LINK', printable(entry.name), 'the hard link names itself');
    }
  }

  /** link(2) does not follow symlinks, and the tree resolved the folders of both names. */
  function addHardLink(place: Place, entry: TarEntry): void {
    const parts = splitName(entry.linkName);
    const target = resolvePlace(root, parts, budget);
    const node = target?.folder.children.get(target.name);
    if (target === undefined || node === undefined || node.kind === 'pending-link') {
      budget.pendingLink(entry.name);
      budget.keep(entry.linkName.length, entry.name);
      const pending: PendingLink = { kind: 'pending-link', target: node?.kind === 'pending-link' ? node.target : parts.join('/') };
      place.folder.children.set(place.name, pending);
      return;
    }
    if (node.kind === 'folder' || node.kind === 'whiteout') {
      throw layerError('IMAGES_LAYER_BAD_LINK', printable(entry.name), `its target ${printable(entry.linkName)} is a ${node.kind}`);
    }
    budget.path(join(target.folder, target.name));
    linkSync(at(target), at(place));
    place.folder.children.set(place.name, shared(node));
  }

  function addDevice(place: Place, entry: TarEntry): void {
    const bits = entry.type === 'fifo' ? S_IFIFO : entry.type === 'block-device' ? S_IFBLK : S_IFCHR;
    // Overlayfs reads a character device 0/0 as a whiteout. An archive must express a whiteout by name, where
    // every tool sees it.
    if (bits === S_IFCHR && entry.major === 0 && entry.minor === 0) {
      throw layerError('IMAGES_LAYER_UNSUPPORTED', printable(entry.name), 'a character device 0/0 would be a whiteout in disguise');
    }
    const node = { mode: bits | entry.mode, major: entry.major, minor: entry.minor };
    makeNode(at(place), scratch, node);
    setLinkAttributes(at(place), entry);
    // mknod(2) is subject to the umask; no symlink can have replaced the device here.
    chmodSync(at(place), entry.mode);
    place.folder.children.set(place.name, { kind: 'device', ...node });
  }

  function finish(): void {
    finishFolder(root);
  }

  function finishFolder(target: Folder): void {
    // An explicit stack: a deep archive must not exhaust the call stack.
    const order: Folder[] = [];
    const stack: Folder[] = [target];
    for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
      order.push(next);
      for (const child of next.children.values()) if (child.kind === 'folder') stack.push(child);
    }
    for (const each of order.reverse()) {
      budget.goOn();
      if (!each.explicit) continue;
      withFolder(nativePath(folder, each.path), (fd) => {
        setAttributes(fd, each);
        const time = fileTime(each.mtime);
        futimesSync(fd, time, time);
      });
    }
  }

  return { root, makeFolder: listedLater, keepXattrs, makeOpaque, begin, data, end, finish };
}

function shared(node: Exclude<Node, Folder | PendingLink>): Node {
  return node.kind === 'file' ? ({ kind: 'file', inode: node.inode } satisfies File) : node;
}

function unwritable(thrown: unknown, name: string): Error {
  // The store's folder precedes the path: the kernel's limit leaves a little less than the limit of a name.
  if (errnoOf(thrown) === 'ENAMETOOLONG')
    return layerError('IMAGES_LAYER_BAD_NAME', printable(name), 'its path is too long for the file system');
  return wrapImageError(thrown, {
    code: 'IMAGES_LAYER_UNWRITABLE',
    kind: 'internal',
    attempted: 'write layer entry',
    on: printable(name),
    fix: 'see the reason; check the file system under the image store',
  });
}
