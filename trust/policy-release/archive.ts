import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import { extract, pack } from 'tar-stream';
import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { releaseFailure } from './failure.ts';

/** The files of a release by their relative names, such as `policy.yaml` and `keys/build.pub`. */
export type ReleaseFiles = ReadonlyMap<string, Buffer>;

/** The most bytes that an archive of a release may have. */
export const mostArchiveBytes = 8 * 1024 * 1024;
const mostFiles = 1000;
const mostNameLength = 255;
const mostFolders = 8;
/** No name begins with a dot or a dash, so that none leads out of a folder or is hidden. */
const part = /^[A-Za-z0-9_][A-Za-z0-9._-]*$/u;

/** Returns why a name cannot be in a release; undefined: it can. */
function nameFlaw(name: string): string | undefined {
  const parts = name.split('/');
  if (name.length > mostNameLength || parts.length > mostFolders)
    return `a name has at most ${mostNameLength} characters and ${mostFolders} parts`;
  return parts.every((one) => part.test(one))
    ? undefined
    : 'parts of a name consist of A-Z a-z 0-9 . _ - and do not begin with a dot or a dash';
}

/** Returns why names cannot be files of one folder; undefined: they can. */
function namesFlaw(names: readonly string[]): string | undefined {
  if (names.length === 0) return 'it contains no file';
  if (names.length > mostFiles) return `it contains more than ${mostFiles} files`;
  const files = new Set(names);
  for (const name of names) {
    const flaw = nameFlaw(name);
    if (flaw !== undefined) return `${JSON.stringify(name.slice(0, 100))}: ${flaw}`;
    for (let at = name.indexOf('/'); at !== -1; at = name.indexOf('/', at + 1))
      if (files.has(name.slice(0, at))) return `${name.slice(0, at)} is both a file and a folder`;
  }
  return undefined;
}

/**
 * Packs files into one tar archive (POSIX ustar), sorted by name, without times and owners: the same files
 * give the same bytes.
 * @throws PortcullisError `TRUST_RELEASE_MALFORMED` when a name, their number or the size is beyond the
 * limits
 */
export async function packRelease(files: ReleaseFiles): Promise<Buffer> {
  const names = [...files.keys()].sort();
  const flaw = namesFlaw(names);
  if (flaw !== undefined) throw releaseFailure('TRUST_RELEASE_MALFORMED', 'archive', flaw);
  const tar = pack();
  for (const name of names) {
    const bytes = files.get(name) ?? Buffer.alloc(0);
    tar.entry({ name, mode: 0o644, mtime: new Date(0) }, bytes);
  }
  tar.finalize();
  const packed = await buffer(tar);
  if (packed.length > mostArchiveBytes) throw tooLarge(packed.length);
  return packed;
}

/**
 * Reads an archive: regular files only, each once, with names that {@link packRelease} would give.
 * @throws PortcullisError `TRUST_RELEASE_MALFORMED`
 */
export async function unpackRelease(archive: Buffer): Promise<ReleaseFiles> {
  if (archive.length > mostArchiveBytes) throw tooLarge(archive.length);
  const files = new Map<string, Buffer>();
  const reader = extract();
  const fed = pipeline(Readable.from([archive]), reader);
  // It can fail while a file is read, when nothing waits for it. The loop below gets the failure too.
  fed.catch(() => undefined);
  try {
    for await (const entry of reader) {
      const { name, type } = entry.header;
      if (type !== 'file') throw malformed(`${JSON.stringify(name.slice(0, 100))} is not a regular file`);
      if (files.has(name)) throw malformed(`it contains ${JSON.stringify(name.slice(0, 100))} twice`);
      if (files.size >= mostFiles) throw malformed(`it contains more than ${mostFiles} files`);
      files.set(name, await buffer(entry));
    }
    await fed;
  } catch (error) {
    reader.destroy();
    await fed.catch(() => undefined);
    throw isPortcullisError(error) ? error : malformed(reasonOf(error), error);
  }
  const flaw = namesFlaw([...files.keys()]);
  if (flaw !== undefined) throw malformed(flaw);
  return files;
}

const malformed = (why: string, cause?: unknown): Error =>
  releaseFailure('TRUST_RELEASE_MALFORMED', 'archive', why, cause);

const tooLarge = (bytes: number): Error =>
  malformed(`it has ${bytes} bytes, and a release has at most ${mostArchiveBytes}`);
