import { fstatSync } from 'node:fs';
import { keptXattrs } from '../unpack/copy-up.ts';
import type { LayerBudget } from '../unpack/layer-budget.ts';
import { fileTime } from '../unpack/layer-files.ts';
import type { Node } from '../unpack/layer-tree.ts';
import type { SettledForm } from '../unpack/settle.ts';
import { copyUp } from './copy-up.ts';
import type { ContentWriter } from './copy-up.ts';
import { asLayerFolder, asTreeFolder, newWhiteout } from './tree.ts';
import type { TreeWriter } from './tree-writer.ts';

/**
 * Returns a layer that becomes one file, as `settle` of `../unpack/settle.ts` changes it: only the tree
 * changes, and copied content goes to the layer file.
 */
export function treeForm(writer: TreeWriter, content: ContentWriter, budget: LayerBudget): SettledForm {
  return {
    root: asLayerFolder(writer.root),
    makeFolder: (parent, name) => asLayerFolder(writer.makeFolder(asTreeFolder(parent), name)),
    makeOpaque(folder) {
      folder.opaque = true;
    },
    hide: () => newWhiteout(),
    inherit(folder, fd) {
      const { mode, uid, gid } = fstatSync(fd);
      const { mtimeNs } = fstatSync(fd, { bigint: true });
      const xattrs = writer.xattrs.keep(keptXattrs(fd), folder.path);
      const attributes = { mode: mode & 0o7777, uid, gid, mtime: fileTime(mtimeNs), xattrs };
      Object.assign(folder, { explicit: true, ...attributes });
    },
    // Only the tree has to change.
    move: () => undefined,
    removeFolder: () => undefined,
    link: (_own, node) => node,
    copyUp: (below) => copyUp(below, { content, xattrs: writer.xattrs, budget }) as unknown as Node,
  };
}
