import { createLayerContent } from './layer-content.ts';
import { layerError, unwritable } from './layer-error.ts';
import { createLayerFolders, describe, keepXattrs } from './layer-folders.ts';
import { addDevice, addHardLink, addSymlink, refuseSelfLink } from './layer-nodes.ts';
import { addWhiteout, isWhiteout } from './whiteouts.ts';
import type { LayerNodesDeps } from './layer-nodes.ts';
import { join } from './layer-tree.ts';
import { printable } from './printable.ts';
import type { Folder, Place } from './layer-tree.ts';
import type { LayerBudget } from './layer-budget.ts';
import { fileSize } from './tar-metadata.ts';
import type { TarEntry } from './tar-metadata.ts';
import type { TarSink } from './tar-reader.ts';

/** uid and gid with all bits set mean "unchanged" to chown(2). */
const maxId = 0xffff_fffe;

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
  const folders = createLayerFolders(folder, budget);
  const content = createLayerContent(budget);
  const nodes: LayerNodesDeps = { folders, scratch, budget };

  function begin(entry: TarEntry): void {
    budget.content(fileSize(entry), entry.name);
    if (entry.sparse !== undefined) budget.sparse(entry.sparse, entry.name);
    if (entry.uid > maxId || entry.gid > maxId)
      throw layerError('IMAGES_LAYER_UNSUPPORTED', printable(entry.name), 'its owner is out of range');
    try {
      write(entry);
    } catch (thrown) {
      throw unwritable(thrown, entry.name);
    }
  }

  function write(entry: TarEntry): void {
    const place = folders.placeOf(entry.name);
    if (place === undefined) {
      budget.entry('');
      if (entry.type !== 'directory')
        throw layerError('IMAGES_LAYER_BAD_NAME', printable(entry.name), 'only a folder can be the root');
      describe(folders.root, entry, budget);
      return;
    }
    budget.entry(join(place.folder, place.name));
    if (isWhiteout(place)) {
      addWhiteout(nodes, place, entry.name);
      return;
    }
    if (entry.type === 'directory') {
      describe(folders.folderAt(place), entry, budget);
      return;
    }
    if (entry.type === 'hard-link') refuseSelfLink(nodes, place, entry);
    folders.clear(place);
    if (entry.type === 'file') beginFile(place, entry);
    else if (entry.type === 'symlink') addSymlink(nodes, place, entry);
    else if (entry.type === 'hard-link') addHardLink(nodes, place, entry);
    else addDevice(nodes, place, entry);
  }

  function beginFile(place: Place, entry: TarEntry): void {
    const inode = content.begin(folders.at(place), entry);
    place.folder.children.set(place.name, { kind: 'file', inode });
  }

  return {
    root: folders.root,
    makeFolder: folders.listedLater,
    keepXattrs: (target) => keepXattrs(target, budget),
    makeOpaque: folders.makeOpaque,
    begin,
    data: content.data,
    end: content.end,
    finish: folders.finish,
  };
}
