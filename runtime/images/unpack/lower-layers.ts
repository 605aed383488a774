import { lstatSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { getXattr } from '../../../base/kernel/index.ts';
import { errnoOf } from '../failures.ts';
import { nativePath, withFolder } from './layer-files.ts';

/** One folder of one layer on disk. */
export interface LowerFolder {
  /** The layer's root. */
  readonly layer: string;
  /** Byte string below it. */
  readonly path: string;
}

/** What the layers below show at a name, as overlayfs merges them. */
export type LowerNode =
  | { readonly kind: 'none' }
  | { readonly kind: 'folder'; readonly folders: readonly LowerFolder[]; readonly stats: Stats }
  | { readonly kind: 'other'; readonly at: LowerFolder; readonly stats: Stats };

/**
 * Looks up one name in merged folders, top-most first: a whiteout or an opaque folder ends the search, anything that is
 * not a folder hides what is below. Source: overlayfs.rst, "Merged directories". No symlink is followed.
 */
export function lookUpLower(folders: readonly LowerFolder[], name: string): LowerNode {
  const merged: LowerFolder[] = [];
  let first: Stats | undefined;
  for (const folder of folders) {
    const at: LowerFolder = { layer: folder.layer, path: folder.path === '' ? name : `${folder.path}/${name}` };
    const stats = statOf(at);
    if (stats === undefined) continue;
    if (stats.isCharacterDevice() && stats.rdev === 0) break;
    if (!stats.isDirectory()) {
      if (first === undefined) return { kind: 'other', at, stats };
      break;
    }
    merged.push(at);
    first ??= stats;
    if (isOpaque(at)) break;
  }
  return first === undefined ? { kind: 'none' } : { kind: 'folder', folders: merged, stats: first };
}

function statOf(at: LowerFolder): Stats | undefined {
  try {
    return lstatSync(nativePath(at.layer, at.path));
  } catch (thrown) {
    const errno = errnoOf(thrown);
    if (errno === 'ENOENT' || errno === 'ENOTDIR') return undefined;
    throw thrown;
  }
}

/** By descriptor: the name itself may not be UTF-8. */
function isOpaque(at: LowerFolder): boolean {
  return withFolder(
    nativePath(at.layer, at.path),
    (fd) => getXattr(`/proc/self/fd/${fd}`, 'trusted.overlay.opaque', { follow: true })?.[0] === 0x79,
  );
}
