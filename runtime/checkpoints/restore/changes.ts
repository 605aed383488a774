import { createWriteStream } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { isPortcullisError, reasonOf, orThrow } from '../../../base/errors/index.ts';
import { parseJson } from '../../../base/json/index.ts';
import { splitName, whiteoutMark } from '../../images/unpack/layer-tree.ts';
import type { TarEntry } from '../../images/unpack/tar-metadata.ts';
import { createTarReader } from '../../images/unpack/tar-reader.ts';
import { isPlainPath } from '../images/restorable.ts';
import { badArchive } from './errors.ts';
import { archiveEnd, headerOf } from './tar-headers.ts';
import type { ArchiveFolder } from './archive-folder.ts';

const most = { listBytes: 16 * 1024 * 1024, names: 100_000 };
const changes = 'rootfs-diff.tar';
const deleted = 'deleted.files';
/** The mark of a folder in which no file of the image is visible (overlayfs), which no layer contains. */
const opaque = Buffer.from('SCHILY.xattr.trusted.overlay.opaque=');
const chunkBytes = 1024 * 1024;

/**
 * Returns the size of the archive of changed files.
 * @throws PortcullisError RUNTIME_RESTORE_ARCHIVE if it is larger than `most`
 */
export async function changesBytes(archive: ArchiveFolder, on: string, mostBytes: number): Promise<number> {
  const bytes = archive.has(changes) ? await archive.size(changes) : 0;
  if (bytes > mostBytes) throw badArchive(on, `${changes} has more than ${mostBytes} bytes`);
  return bytes;
}

/**
 * Writes an archive of the files that a container had changed, in the form of a layer: a whiteout for each
 * deleted file, then the changed files. The reader of layers bounds and resolves both.
 * @param to path of the new file
 * @returns whether there are any
 * @throws PortcullisError RUNTIME_RESTORE_ARCHIVE
 */
export async function writeChanges(
  archive: ArchiveFolder,
  on: string,
  to: string,
  mostBytes: number,
): Promise<boolean> {
  const names = archive.has(deleted) ? deletedFiles(await archive.read(deleted, most.listBytes), on) : [];
  const hasChanges = archive.has(changes);
  if (names.length === 0 && !hasChanges) return false;
  await changesBytes(archive, on, mostBytes);
  const out = createWriteStream(to, { flags: 'wx', mode: 0o600 });
  if (!hasChanges) {
    await pipeline(async function* () {
      yield* whiteoutsOf(names);
      yield archiveEnd;
    }, out);
    return true;
  }
  const file = await archive.open(changes);
  try {
    await pipeline(
      async function* () {
        yield* whiteoutsOf(names);
        yield* checkedContentOf(file, on);
      },
      withoutOpaque(on),
      out,
    );
  } finally {
    await file.close();
  }
  return true;
}

/** Not all headers at once: they take 512 bytes each. */
function* whiteoutsOf(names: readonly string[]): Generator<Buffer> {
  for (const name of names) yield headerOf({ name: whiteoutOf(name), type: 'file', mode: 0 });
}

/** Yields an archive of changed files, and fails if it cannot be read, or has the name of a whiteout. */
async function* checkedContentOf(file: FileHandle, on: string): AsyncGenerator<Buffer> {
  const ignore = (): void => undefined;
  const reader = createTarReader({
    begin: (entry) => {
      requireNoWhiteout(entry, on);
    },
    data: ignore,
    end: ignore,
  });
  try {
    for (;;) {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(chunkBytes), 0, chunkBytes);
      if (bytesRead === 0) break;
      const chunk = buffer.subarray(0, bytesRead);
      reader.push(chunk);
      yield chunk;
    }
    reader.finish();
  } catch (thrown) {
    if (!isPortcullisError(thrown) || thrown.code === 'RUNTIME_RESTORE_ARCHIVE') throw thrown;
    throw badArchive(on, `${changes} cannot be read: ${reasonOf(thrown)}`);
  }
}

/** The reader of layers takes a file with the name of a whiteout for the deletion of another file. */
function requireNoWhiteout({ name }: Pick<TarEntry, 'name'>, on: string): void {
  if (splitName(name).at(-1)?.startsWith(whiteoutMark) === true)
    throw badArchive(
      on,
      `the container had created a file whose name begins with "${whiteoutMark}", which cannot be restored`,
    );
}

/** Returns the names in `deleted.files`. Pure. @throws PortcullisError RUNTIME_RESTORE_ARCHIVE */
export function deletedFiles(bytes: Uint8Array, on: string): readonly string[] {
  const list: unknown = orThrow(
    () => parseJson(new TextDecoder('utf-8', { fatal: true }).decode(bytes)),
    () => badArchive(on, `${deleted} is not JSON`),
  );
  if (!Array.isArray(list) || list.length > most.names)
    throw badArchive(on, `${deleted} is not a list of at most ${most.names} names`);
  return list.map((name: unknown) => {
    const path = typeof name === 'string' ? `/${name.replace(/^\//, '')}` : '';
    const base = path.slice(path.lastIndexOf('/') + 1);
    if (path === '/' || !isPlainPath(path) || path.includes('\0') || path.length > 4096)
      throw badArchive(on, `${deleted} has a name that is not a plain path`);
    // In place of each byte that is not UTF-8, JSON has this character: another file would be deleted.
    if (path.includes('\ufffd')) throw badArchive(on, `${deleted} has a name that is not UTF-8`);
    if (base.startsWith(whiteoutMark) || Buffer.byteLength(base) > 255 - whiteoutMark.length)
      throw badArchive(on, `${deleted} has a name that a layer cannot express`);
    return path.slice(1);
  });
}

function whiteoutOf(name: string): string {
  const slash = name.lastIndexOf('/') + 1;
  return `${name.slice(0, slash)}${whiteoutMark}${name.slice(slash)}`;
}

/**
 * Passes an archive on, and fails at the mark of an opaque folder: the files of the image that it hides would
 * appear again.
 */
function withoutOpaque(on: string): Transform {
  let tail = Buffer.alloc(0);
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const seen = Buffer.concat([tail, chunk]);
      tail = seen.subarray(Math.max(0, seen.length - opaque.length + 1));
      if (seen.includes(opaque))
        done(badArchive(on, 'the container had replaced a folder of its image, which cannot be restored'));
      else done(null, chunk);
    },
  });
}
