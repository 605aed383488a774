import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { serveThread } from '../../base/process/index.ts';
import { archiveEnd, fileHeader, paddingOf } from './artifact-archive.ts';
import type { ArchiveCalls, ArchivedFile } from './artifact-archive.ts';
import { wrapImageError } from './limits/failures.ts';

const blockBytes = 1024 * 1024;

/** Writes the archives of artifacts off the main thread. */
await serveThread(
  (call) => ({
    code: 'IMAGES_STORE_FAILED',
    kind: 'internal',
    attempted: `${call} archive of artifact`,
    on: '',
    fix: 'try again; if it fails again, report this error',
  }),
  () => ({ offer: { write } satisfies ArchiveCalls }),
);

function write(
  files: readonly ArchivedFile[],
  to: string,
): { readonly digest: string; readonly size: number } {
  const failure = {
    code: 'IMAGES_STORE_FAILED',
    kind: 'internal',
    attempted: 'write archive of artifact',
    on: to,
    fix: 'try again; if it fails again, report this error',
  } as const;
  try {
    return writeArchive(files, to);
  } catch (thrown) {
    throw wrapImageError(thrown, failure);
  }
}

function writeArchive(
  files: readonly ArchivedFile[],
  to: string,
): { readonly digest: string; readonly size: number } {
  const digest = createHash('sha256');
  const buffer = Buffer.alloc(blockBytes);
  const archive = openSync(to, 'wx', 0o600);
  let size = 0;
  const put = (bytes: Uint8Array): void => {
    digest.update(bytes);
    for (let done = 0; done < bytes.length;) done += writeSync(archive, bytes, done);
    size += bytes.length;
  };
  using opened = new DisposableStack();
  opened.defer(() => closeSync(archive));
  for (const file of files) {
    put(fileHeader(file));
    copy(file, buffer, put);
    put(paddingOf(file.size));
  }
  put(archiveEnd);
  return { digest: `sha256:${digest.digest('hex')}`, size };
}

/** Reads exactly the bytes that the header announces. */
function copy({ blob, path, size }: ArchivedFile, buffer: Buffer, put: (bytes: Uint8Array) => void): void {
  using opened = new DisposableStack();
  const source = opened.adopt(openSync(blob, 'r'), closeSync);
  let left = size;
  for (let read = -1; read !== 0; left -= read) {
    read = readSync(source, buffer, 0, buffer.length, null);
    if (read > left) break;
    put(buffer.subarray(0, read));
  }
  if (left !== 0)
    throw new Error(`the blob of ${JSON.stringify(path)} does not have the ${size} bytes of its descriptor`);
}
