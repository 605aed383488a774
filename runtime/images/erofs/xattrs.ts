import { layerError } from '../unpack/layer-error.ts';
import { printable } from '../unpack/printable.ts';
import { maxXattrBodyBytes, roundUp, xattrEntryBytes, xattrHeaderBytes, xattrPrefixes } from './format.ts';
import type { TreeFolder, Xattrs } from './tree.ts';

/** Overlayfs hides the layers below in a folder with this mark. */
export const opaqueMark: readonly [string, Uint8Array] = ['trusted.overlay.opaque', new Uint8Array([0x79])];

const maxNameBytes = 255;
/** `e_value_size` has 16 bits. */
const maxValueBytes = 0xffff;

/**
 * Returns the extended attributes as they follow an inode; undefined: there are none.
 * @param on the path, for messages
 * @throws IMAGES_LAYER_TOO_LARGE, IMAGES_LAYER_UNSUPPORTED
 */
export function encodeXattrs(xattrs: Xattrs | undefined, on: string): Buffer | undefined {
  if (xattrs === undefined || xattrs.size === 0) return undefined;
  const entries: Buffer[] = [Buffer.alloc(xattrHeaderBytes)];
  let bytes = xattrHeaderBytes;
  for (const [name, value] of xattrs) {
    const entry = encodeEntry(name, value, on);
    bytes += entry.length;
    if (bytes > maxXattrBodyBytes)
      throw tooLarge(
        on,
        `its extended attributes have more than ${maxXattrBodyBytes} bytes, which is the maximum of an EROFS inode`,
      );
    entries.push(entry);
  }
  return Buffer.concat(entries, bytes);
}

/** Does the same for a folder, with the mark that makes it opaque. */
export function encodeFolderXattrs(folder: TreeFolder): Buffer | undefined {
  return encodeXattrs(
    folder.opaque ? new Map([...(folder.xattrs ?? []), opaqueMark]) : folder.xattrs,
    folder.path,
  );
}

function encodeEntry(name: string, value: Uint8Array, on: string): Buffer {
  const found = xattrPrefixes.find(([prefix]) => name.startsWith(prefix));
  const suffix = Buffer.from(name.slice(found?.[0].length ?? 0), 'latin1');
  if (found === undefined || suffix.length === 0 || suffix.length > maxNameBytes || suffix.includes(0))
    throw layerError(
      'IMAGES_LAYER_UNSUPPORTED',
      printable(on),
      `${printable(name)} is not a name of an extended attribute`,
    );
  if (value.length > maxValueBytes)
    throw tooLarge(
      on,
      `an extended attribute has ${value.length} bytes, and an EROFS inode can have at most ${maxValueBytes}`,
    );
  const entry = Buffer.alloc(roundUp(xattrEntryBytes + suffix.length + value.length, 4));
  entry.writeUInt8(suffix.length, 0);
  entry.writeUInt8(found[1], 1);
  entry.writeUInt16LE(value.length, 2);
  suffix.copy(entry, xattrEntryBytes);
  entry.set(value, xattrEntryBytes + suffix.length);
  return entry;
}

function tooLarge(on: string, why: string): Error {
  return layerError('IMAGES_LAYER_TOO_LARGE', printable(on), why);
}
