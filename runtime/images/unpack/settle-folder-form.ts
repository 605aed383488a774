import { fstatSync, linkSync, renameSync, rmdirSync } from 'node:fs';
import { copyUp, keptXattrs } from './copy-up.ts';
import type { LayerBudget } from './layer-budget.ts';
import { nativePath } from './layer-files.ts';
import { makeWhiteout } from './whiteouts.ts';
import { join } from './layer-tree.ts';
import type { Place } from './layer-tree.ts';
import type { LayerWriter } from './layer-writer.ts';
import type { SettledForm } from './settle.ts';

/**
 * Returns a layer that is a folder on disk in the form that {@link settle} changes: the tree and the disk
 * always agree.
 * @param layer the layer's own root on disk
 * @param scratch a free path beside it
 */
export function folderForm(
  writer: LayerWriter,
  layer: string,
  scratch: string,
  budget: LayerBudget,
): SettledForm {
  const at = (place: Place): string | Buffer => pathAt(layer, place);
  return {
    root: writer.root,
    makeFolder: writer.makeFolder,
    makeOpaque: writer.makeOpaque,
    hide: (place) => makeWhiteout(at(place), scratch),
    inherit(folder, fd) {
      const { mode, uid, gid } = fstatSync(fd);
      folder.explicit = true;
      folder.mode = mode & 0o7777;
      folder.uid = uid;
      folder.gid = gid;
      folder.mtime = fstatSync(fd, { bigint: true }).mtimeNs;
      folder.xattrs = keptXattrs(fd);
      writer.keepXattrs(folder);
    },
    move(from, to, name, { kind }) {
      // A pending link is not on disk yet.
      if (kind !== 'pending-link') renameSync(at({ folder: from, name }), at({ folder: to, name }));
    },
    removeFolder: ({ path }) => rmdirSync(nativePath(layer, path)),
    link(own, node, place) {
      linkSync(at(own), at(place));
      return node.kind === 'file' ? { kind: 'file', inode: node.inode } : node;
    },
    copyUp: (below, place) => copyUp(below, at(place), scratch, budget),
  };
}

/** Returns the path of a place of a layer on disk. @param layer the layer's own root */
export function pathAt(layer: string, { folder, name }: Place): string | Buffer {
  return nativePath(layer, join(folder, name));
}
