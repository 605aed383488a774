import { makeNode } from './layer-files.ts';
import { layerError } from './layer-error.ts';
import type { LayerNodesDeps } from './layer-nodes.ts';
import { whiteoutMark } from './layer-tree.ts';
import type { Place, Whiteout } from './layer-tree.ts';
import { printable } from './printable.ts';

/** Whiteouts: entries that hide names of the layers below. Source: OCI image-spec, layer.md, Whiteouts. */

/** Type bits of a character device (stat(2)). overlayfs reads the device 0/0 as a whiteout. */
const S_IFCHR = 0o020000;

/** Returns whether a name marks a whiteout. */
export function isWhiteout({ name }: { readonly name: string }): boolean {
  return name.startsWith(whiteoutMark);
}

/**
 * Reads the last part of a name that begins with `.wh.`: it hides what the layers below have in the folder,
 * or one name there. Undefined: the mark is internal to AUFS and carries no file.
 * @param name the whole name, for the error
 * @throws IMAGES_LAYER_BAD_NAME
 * Source: OCI image-spec, layer.md, Whiteouts.
 */
export function readWhiteout(
  place: { readonly name: string },
  name: string,
): { readonly hides: 'all' } | { readonly hides: 'one'; readonly target: string } | undefined {
  if (place.name === '.wh..wh..opq') return { hides: 'all' };
  if (place.name.startsWith('.wh..wh.')) return undefined;
  const target = place.name.slice(whiteoutMark.length);
  if (target === '' || target === '.' || target === '..')
    throw layerError('IMAGES_LAYER_BAD_NAME', printable(name), 'the whiteout has no name');
  return { hides: 'one', target };
}

/**
 * `.wh.NAME` hides NAME of the layers below, never of this one, whichever comes first.
 * @throws IMAGES_LAYER_BAD_NAME
 */
export function addWhiteout({ folders, scratch }: LayerNodesDeps, place: Place, name: string): void {
  const whiteout = readWhiteout(place, name);
  if (whiteout?.hides === 'all') folders.makeOpaque(place.folder);
  if (whiteout?.hides !== 'one') return;
  const { target } = whiteout;
  const existing = place.folder.children.get(target);
  if (existing?.kind === 'folder') folders.makeOpaque(existing);
  if (existing !== undefined) return;
  const hidden: Place = { folder: place.folder, name: target };
  place.folder.children.set(target, makeWhiteout(folders.at(hidden), scratch));
}

/** Creates a whiteout of overlayfs. @param scratch a free path beside the layer's root */
export function makeWhiteout(at: string | Buffer, scratch: string): Whiteout {
  makeNode(at, scratch, { mode: S_IFCHR, major: 0, minor: 0 });
  return { kind: 'whiteout' };
}
