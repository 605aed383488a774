import { blockSize } from './tar-header.ts';
import type { EntryType, TarHeader } from './tar-header.ts';
import { createPaxReader } from './pax.ts';
import { sparseOfRecords } from './sparse.ts';
import type { SparseMap, SparseMapReader } from './sparse.ts';
import type { PaxOverrides, PaxReader } from './pax.ts';
import { maxPathLength } from './layer-budget.ts';
import { layerError } from './layer-error.ts';
import { printable } from './printable.ts';

/** The types of entries whose body describes the next entry. */
type MetadataType = 'pax' | 'pax-global' | 'gnu-long-name' | 'gnu-long-link';

/**
 * One entry with every override applied. Its names are byte strings, as written in the archive. Its size is
 * the number of bytes of its body that are data.
 */
export interface TarEntry extends Omit<TarHeader, 'type' | 'mtime'> {
  readonly type: Exclude<EntryType, MetadataType | 'gnu-sparse' | 'v7-file'>;
  /** The positions of the data of a sparse file. */
  readonly sparse?: SparseMap;
  /** Nanoseconds since the epoch. */
  readonly mtime: bigint;
  readonly xattrs: ReadonlyMap<string, Uint8Array> | undefined;
}

type HeaderOf<Type extends EntryType> = Omit<TarHeader, 'type'> & { readonly type: Type };

/** Reads the entries that describe the next entry (pax headers, GNU long names), and applies them to it. */
export interface TarMetadata {
  /**
   * Begins the body of an entry that describes the next entry. @throws IMAGES_LAYER_TOO_LARGE if its declared
   * size is too large
   */
  begin(header: HeaderOf<MetadataType>): void;
  push(part: Buffer): void;
  /** Ends the body. @throws IMAGES_LAYER_CORRUPT */
  end(): void;
  /**
   * Returns the entry of a header, with the fields that earlier entries set for it.
   * @param map of a sparse file, if the header has one
   */
  applyTo(found: HeaderOf<TarEntry['type'] | 'v7-file'>, map?: SparseMapReader): AppliedEntry;
  /** Whether an entry has described a next entry that has not followed yet. */
  isPending(): boolean;
}

/** An entry, and the map of a sparse file, which may have blocks that are still to come. */
export interface AppliedEntry {
  readonly entry: TarEntry;
  readonly map: SparseMapReader | undefined;
}

/** Returns the length of a file, with its holes. */
export function fileSize({ size, sparse }: Pick<TarEntry, 'size' | 'sparse'>): number {
  return sparse?.size ?? size;
}

/** Limit of all records of one pax header. The records that are kept have their own limits (`pax.ts`). */
const maxPaxBytes = 1024 * 1024;
/** A GNU long name, with the NUL bytes that end and pad it. */
const maxLongNameBytes = maxPathLength + blockSize;

/** The body of an entry that describes the next one. Global headers are skipped. */
type Body =
  | { readonly kind: 'pax'; readonly reader: PaxReader }
  | { readonly kind: 'gnu-long-name' | 'gnu-long-link'; readonly bytes: Buffer; filled: number }
  | { readonly kind: 'skipped' };

/** Whether an entry of this type describes the next one. */
export function isMetadataType(type: EntryType): type is MetadataType {
  return type === 'pax' || type === 'pax-global' || type === 'gnu-long-name' || type === 'gnu-long-link';
}

export function createTarMetadata(): TarMetadata {
  let body: Body | undefined;
  let pax: PaxOverrides = {};
  let longName: string | undefined;
  let longLink: string | undefined;
  const reset = (): void => {
    pax = {};
    longName = undefined;
    longLink = undefined;
  };
  return {
    begin(header) {
      body = bodyOf(header);
    },
    push(part) {
      if (body?.kind === 'pax') body.reader.push(part);
      else if (body !== undefined && body.kind !== 'skipped')
        body.filled += part.copy(body.bytes, body.filled);
    },
    end() {
      const done = body;
      body = undefined;
      if (done?.kind === 'pax') pax = done.reader.finish();
      else if (done?.kind === 'skipped') reset();
      else if (done?.kind === 'gnu-long-name') longName = longText(done.bytes, 'IMAGES_LAYER_BAD_NAME');
      else if (done?.kind === 'gnu-long-link') longLink = longText(done.bytes, 'IMAGES_LAYER_BAD_LINK');
    },
    applyTo(found, mapInHeader) {
      // Readers disagree about the order of these names. Go's archive/tar, which other runtimes and scanners
      // of images use, has this order.
      const path = pax.sparse?.name ?? longName ?? pax.path ?? found.name;
      // Archives of the form v7 have folders as files with a final slash. The complete name decides, because
      // the name in the header may be truncated at a slash.
      const type = found.type === 'v7-file' ? (path.endsWith('/') ? 'directory' : 'file') : found.type;
      const entry: TarEntry = {
        name: path,
        linkName: longLink ?? pax.linkPath ?? found.linkName,
        type,
        size: type === 'file' ? (pax.size ?? found.size) : 0,
        mode: pax.groupRights === undefined ? found.mode : found.mode & (~0o070 | (pax.groupRights << 3)),
        uid: pax.uid ?? found.uid,
        gid: pax.gid ?? found.gid,
        mtime: pax.mtime ?? BigInt(found.mtime) * 1_000_000_000n,
        major: found.major,
        minor: found.minor,
        xattrs: pax.xattrs,
      };
      const map = pax.sparse === undefined ? mapInHeader : sparseOfRecords(pax.sparse);
      if (map !== undefined && (type !== 'file' || (pax.sparse !== undefined && mapInHeader !== undefined)))
        throw layerError(
          'IMAGES_LAYER_CORRUPT',
          printable(path),
          'only a file can be sparse, and has one map',
        );
      reset();
      return { entry, map };
    },
    isPending: () => longName !== undefined || longLink !== undefined || Object.keys(pax).length > 0,
  };
}

/**
 * Returns the reader of a body that describes the next entry. Refuses the body by its size before any of it
 * is read.
 */
function bodyOf({ type, name, size }: HeaderOf<MetadataType>): Body {
  const most = type === 'pax' || type === 'pax-global' ? maxPaxBytes : maxLongNameBytes;
  if (size > most)
    throw layerError(
      'IMAGES_LAYER_TOO_LARGE',
      printable(name),
      `an extended header has ${size} bytes, and at most ${most} are allowed`,
    );
  if (type === 'pax') return { kind: 'pax', reader: createPaxReader() };
  // Global pax headers are metadata of the archive (git writes one). As in Go's archive/tar, they override
  // nothing, and end what earlier headers describe.
  if (type === 'pax-global') return { kind: 'skipped' };
  return { kind: type, bytes: Buffer.alloc(size), filled: 0 };
}

/** @returns undefined if it is empty: the name in the header then applies */
function longText(
  bytes: Buffer,
  code: 'IMAGES_LAYER_BAD_NAME' | 'IMAGES_LAYER_BAD_LINK',
): string | undefined {
  const end = bytes.indexOf(0);
  const text = bytes.toString('latin1', 0, end === -1 ? bytes.length : end);
  if (text === '') return undefined;
  if (text.length > maxPathLength)
    throw layerError(
      code,
      printable(text),
      `it has ${text.length} bytes, and at most ${maxPathLength} are allowed`,
    );
  return text;
}
