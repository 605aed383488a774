import { blockSize, decodeHeader } from './tar-header.ts';
import type { EntryType, TarHeader } from './tar-header.ts';
import { createPaxReader } from './pax.ts';
import type { PaxOverrides, PaxReader } from './pax.ts';
import { maxPathLength } from './layer-budget.ts';
import { layerError } from './layer-error.ts';
import { printable } from './printable.ts';

/** One entry with every override applied. */
export interface TarEntry {
  /** As written in the archive; byte string. */
  readonly name: string;
  readonly linkName: string;
  readonly type: Exclude<EntryType, 'pax' | 'pax-global' | 'gnu-long-name' | 'gnu-long-link'>;
  readonly size: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtime: number;
  readonly major: number;
  readonly minor: number;
  readonly xattrs: ReadonlyMap<string, Uint8Array> | undefined;
}

/**
 * Receives the entries: synchronous, one entry after another. `data` comes only between `begin` and `end` of
 * an entry with a size above 0.
 */
export interface TarSink {
  begin(entry: TarEntry): void;
  data(chunk: Buffer): void;
  end(): void;
}

export interface TarReader {
  /** Feeds decompressed bytes; the buffer may be reused after the call. */
  push(chunk: Buffer): void;
  /** Ends the stream. Throws IMAGES_LAYER_TRUNCATED inside an entry or a header. */
  finish(): void;
}

/** Limit of all records of one pax header. The records that are kept have their own limits (`pax.ts`). */
const maxPaxBytes = 1024 * 1024;
/** A GNU long name, with the NUL bytes that end and pad it. */
const maxLongNameBytes = maxPathLength + blockSize;

/** The body of an entry that describes the next one. `global` headers and similar ones are skipped. */
type Metadata =
  | { readonly kind: 'pax'; readonly reader: PaxReader }
  | { readonly kind: 'gnu-long-name' | 'gnu-long-link'; readonly bytes: Buffer; filled: number }
  | { readonly kind: 'skipped' };

type State = 'header' | 'body' | 'metadata' | 'padding' | 'after-end';

/**
 * A push parser for tar streams that passes whole entries to a synchronous sink. Bytes after the
 * end-of-archive mark are read (they belong to the diff id) and ignored.
 */
export function createTarReader(sink: TarSink): TarReader {
  let state: State = 'header';
  const partial = Buffer.alloc(blockSize);
  let partialLength = 0;
  let remaining = 0;
  let padding = 0;
  let metadata: Metadata | undefined;
  let pax: PaxOverrides = {};
  let longName: string | undefined;
  let longLink: string | undefined;
  let current = '';
  let zeroBlocks = 0;

  function header(found: TarHeader | undefined): void {
    if (found === undefined) {
      zeroBlocks++;
      if (zeroBlocks === 2) state = 'after-end';
      return;
    }
    // Two blocks of zeros end an archive. Tar programs disagree about a single one: some would read and
    // others would skip the data after it.
    if (zeroBlocks > 0) throw layerError('IMAGES_LAYER_CORRUPT', found.name, 'an entry follows a block of zeros');
    if (found.type === 'pax' || found.type === 'pax-global' || found.type === 'gnu-long-name' || found.type === 'gnu-long-link') {
      metadata = startMetadata(found.type, found);
      startBody(found.size, 'metadata');
      if (remaining === 0) endMetadata();
      return;
    }
    const entry = merge({ ...found, type: found.type });
    current = entry.name;
    sink.begin(entry);
    startBody(entry.size, 'body');
    if (remaining === 0) endBody();
  }

  function merge(found: Omit<TarHeader, 'type'> & { readonly type: TarEntry['type'] }): TarEntry {
    const path = pax.path ?? longName ?? found.name;
    // Old archives write a folder as an empty file with a final slash. The whole name decides, because the
    // name in the header may be cut off at a slash.
    const type = found.type === 'file' && path.endsWith('/') && (pax.size ?? found.size) === 0 ? 'directory' : found.type;
    const entry: TarEntry = {
      name: path,
      linkName: pax.linkPath ?? longLink ?? found.linkName,
      type,
      size: type === 'file' ? (pax.size ?? found.size) : 0,
      mode: found.mode,
      uid: pax.uid ?? found.uid,
      gid: pax.gid ?? found.gid,
      mtime: pax.mtime ?? found.mtime,
      major: found.major,
      minor: found.minor,
      xattrs: pax.xattrs,
    };
    pax = {};
    longName = undefined;
    longLink = undefined;
    return entry;
  }

  function startBody(size: number, next: 'body' | 'metadata'): void {
    remaining = size;
    padding = (blockSize - (size % blockSize)) % blockSize;
    state = next;
  }

  function endBody(): void {
    sink.end();
    state = padding > 0 ? 'padding' : 'header';
  }

  function endMetadata(): void {
    const done = metadata;
    metadata = undefined;
    state = padding > 0 ? 'padding' : 'header';
    if (done?.kind === 'pax') pax = done.reader.finish();
    else if (done?.kind === 'gnu-long-name') longName = longText(done.bytes, 'IMAGES_LAYER_BAD_NAME');
    else if (done?.kind === 'gnu-long-link') longLink = longText(done.bytes, 'IMAGES_LAYER_BAD_LINK');
  }

  function push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (state === 'after-end') return;
      if (state === 'header') {
        if (partialLength === 0 && chunk.length - at >= blockSize) {
          const found = decodeHeader(chunk, at);
          at += blockSize;
          header(found);
          continue;
        }
        const take = Math.min(blockSize - partialLength, chunk.length - at);
        chunk.copy(partial, partialLength, at, at + take);
        partialLength += take;
        at += take;
        if (partialLength === blockSize) {
          partialLength = 0;
          header(decodeHeader(partial, 0));
        }
        continue;
      }
      if (state === 'padding') {
        const take = Math.min(padding, chunk.length - at);
        padding -= take;
        at += take;
        if (padding === 0) state = 'header';
        continue;
      }
      const take = Math.min(remaining, chunk.length - at);
      const part = chunk.subarray(at, at + take);
      at += take;
      remaining -= take;
      if (state === 'metadata') {
        if (metadata?.kind === 'pax') metadata.reader.push(part);
        else if (metadata !== undefined && metadata.kind !== 'skipped') metadata.filled += part.copy(metadata.bytes, metadata.filled);
        if (remaining === 0) endMetadata();
      } else {
        sink.data(part);
        if (remaining === 0) endBody();
      }
    }
  }

  function finish(): void {
    const inside =
      state === 'body' || state === 'metadata' || (state === 'header' && partialLength > 0) || (state === 'padding' && padding > 0);
    if (inside)
      throw layerError('IMAGES_LAYER_TRUNCATED', current === '' ? 'layer' : current, 'the archive ends in the middle of an entry');
    if (longName !== undefined || longLink !== undefined || Object.keys(pax).length > 0) {
      throw layerError('IMAGES_LAYER_TRUNCATED', 'layer', 'the archive ends after an extended header');
    }
  }

  return { push, finish };
}

/**
 * Returns the reader of a body that describes the next entry. Refuses the body by its size before any of it
 * is read.
 */
function startMetadata(type: Metadata['kind'] | 'pax-global', { name, size }: TarHeader): Metadata {
  const most = type === 'pax' || type === 'pax-global' ? maxPaxBytes : maxLongNameBytes;
  if (size > most)
    throw layerError('IMAGES_LAYER_TOO_LARGE', printable(name), `an extended header has ${size} bytes; at most ${most} are allowed`);
  if (type === 'pax') return { kind: 'pax', reader: createPaxReader() };
  // Global pax headers are metadata of the archive (git writes one) and override nothing, as in Go's
  // archive/tar.
  if (type === 'pax-global' || type === 'skipped') return { kind: 'skipped' };
  return { kind: type, bytes: Buffer.alloc(size), filled: 0 };
}

function longText(bytes: Buffer, code: 'IMAGES_LAYER_BAD_NAME' | 'IMAGES_LAYER_BAD_LINK'): string {
  const end = bytes.indexOf(0);
  const text = bytes.toString('latin1', 0, end === -1 ? bytes.length : end);
  if (text.length > maxPathLength)
    throw layerError(code, printable(text), `it has ${text.length} bytes; at most ${maxPathLength} are allowed`);
  return text;
}
