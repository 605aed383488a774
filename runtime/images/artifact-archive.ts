import { connectThread, startWorker } from '../../base/process/index.ts';
import { orAborted } from '../../base/queues/index.ts';
import { createTurns } from './turns.ts';

/** One file of an artifact, and the blob with its bytes. */
export interface ArchivedFile {
  /** A relative path that `parseArtifact` has accepted. */
  readonly path: string;
  readonly blob: string;
  readonly size: number;
}

/** The functions of `artifact-archive.worker.ts`. */
export type ArchiveCalls = {
  readonly write: (
    files: readonly ArchivedFile[],
    to: string,
  ) => { readonly digest: string; readonly size: number };
};

/** The disk limits the speed: more archives at a time would only need more Workers. */
const turns = createTurns(2);

/**
 * Writes the files of an artifact into one archive in a Worker, always with the same bytes for the same
 * files: a layer of an image like any other (POSIX.1-2017 pax). Returns its digest and size.
 * @param to a path that does not exist yet; a failure may leave a part of the archive there
 * @throws IMAGES_STORE_FAILED, IMAGES_DISK_FULL; the reason of `signal`
 */
export async function writeArtifactArchive(
  files: readonly ArchivedFile[],
  to: string,
  signal: AbortSignal,
): Promise<{ readonly digest: string; readonly size: number }> {
  await turns.enter(signal);
  try {
    return await writeInWorker(files, to, signal);
  } finally {
    turns.leave();
  }
}

async function writeInWorker(
  files: readonly ArchivedFile[],
  to: string,
  signal: AbortSignal,
): Promise<{ readonly digest: string; readonly size: number }> {
  signal.throwIfAborted();
  const worker = startWorker(import.meta.url, './artifact-archive.worker.ts');
  const blame = {
    code: 'IMAGES_STORE_FAILED',
    kind: 'internal',
    attempted: 'write archive of artifact',
    on: to,
    fix: 'pull again; if it repeats, see the log of the daemon',
  } as const;
  const thread = connectThread<ArchiveCalls>(worker, { blame });
  try {
    return await orAborted(thread.call('write', files, to), signal);
  } finally {
    // The caller removes the file of a failed archive: the Worker must have stopped writing before that.
    await worker.terminate();
  }
}

const block = 512;
/**
 * The largest size in eleven octal digits; a larger one needs a pax record (POSIX.1-2017, "ustar Interchange
 * Format").
 */
const maxOctalSize = 8 ** 11 - 1;
const maxHeaderName = 100;

/** Two blocks of zeros. */
export const archiveEnd: Uint8Array = Buffer.alloc(2 * block);

/** Returns the zeros between the content of a file and the next header. */
export function paddingOf(size: number): Uint8Array {
  return Buffer.alloc((block - (size % block)) % block);
}

/**
 * Returns the header of a file: read-only, of root, from 1970. A pax header precedes it if a value does not
 * fit in a ustar header.
 */
export function fileHeader({ path, size }: Pick<ArchivedFile, 'path' | 'size'>): Uint8Array {
  const isLongName = Buffer.byteLength(path) > maxHeaderName || !/^[ -~]*$/.test(path);
  const isLarge = size > maxOctalSize;
  if (!isLongName && !isLarge) return header(path, size, '0');
  const records = Buffer.concat(
    [isLongName ? paxRecord('path', path) : '', isLarge ? paxRecord('size', String(size)) : ''].map((text) =>
      Buffer.from(text),
    ),
  );
  return Buffer.concat([
    header('PaxHeader', records.length, 'x'),
    records,
    paddingOf(records.length),
    header(isLongName ? 'file' : path, isLarge ? 0 : size, '0'),
  ]);
}

/** Returns `LENGTH KEY=VALUE\n`; LENGTH counts its own digits, too. */
function paxRecord(key: string, value: string): string {
  const rest = Buffer.byteLength(` ${key}=${value}\n`);
  let length = rest + String(rest).length;
  length = rest + String(length).length;
  return `${length} ${key}=${value}\n`;
}

function header(name: string, size: number, type: string): Buffer {
  const bytes = Buffer.alloc(block);
  const octal = (value: number, at: number, digits: number): void => {
    bytes.write(value.toString(8).padStart(digits, '0'), at, 'latin1');
  };
  bytes.write(name, 0, 'latin1');
  octal(0o444, 100, 7);
  octal(0, 108, 7);
  octal(0, 116, 7);
  octal(size, 124, 11);
  octal(0, 136, 11);
  bytes.write(' '.repeat(8), 148, 'latin1');
  bytes.write(type, 156, 'latin1');
  bytes.write('ustar\u000000', 257, 'latin1');
  octal(
    bytes.reduce((sum, byte) => sum + byte, 0),
    148,
    6,
  );
  bytes.write('\u0000 ', 154, 'latin1');
  return bytes;
}
