import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { errnoIs, tolerate } from '../../../base/errors/index.ts';
import type { RegistryRepository } from '../../../base/distribution/index.ts';
import { freeBuffer } from '../../../base/inflate/index.ts';
import { createWriteOut } from '../../../base/kernel/index.ts';
import type { BlobDescriptor } from '../manifest/json.ts';

const batchBytes = 256 * 1024;

/**
 * Fetches a blob into a file with mode 0600. If the file exists, it holds the first bytes of the blob, which
 * an earlier fetch left: they are hashed again, and only the rest is requested.
 * @throws PortcullisError of base/distribution; the file then holds what has arrived
 */
export type FetchBlob = (
  repository: Pick<RegistryRepository, 'blob'>,
  descriptor: Pick<BlobDescriptor, 'digest' | 'size'>,
  path: string,
  signal: AbortSignal,
) => Promise<void>;

/**
 * Fetches a blob in a thread that must not block.
 * @param repository its chunks belong to this function: the memory of each is freed when it is written
 */
export const download: FetchBlob = async (repository, descriptor, path, signal) => {
  const begun = await sizeIfPresent(path);
  // Before the request: without a reader of its body, an answer keeps its connection.
  await using file = await open(path, begun === 0 ? 'w' : 'a', 0o600);
  const left = begun === 0 ? undefined : createReadStream(path, { end: begun - 1 });
  const stream = await repository.blob(descriptor, signal, left);
  await writeAll(file, stream, begun);
};

/** Returns the size of a file in bytes, 0 if there is none. */
export async function sizeIfPresent(path: string): Promise<number> {
  return (await tolerate(errnoIs('ENOENT'), async () => (await stat(path)).size)) ?? 0;
}

/**
 * Writes in batches; one write is in progress while the next batch is read.
 * @param begun length of the file
 */
async function writeAll(file: FileHandle, stream: AsyncIterable<Uint8Array>, begun: number): Promise<void> {
  let batch: Uint8Array[] = [];
  let bytes = 0;
  let written = begun;
  let writing: Promise<unknown> = Promise.resolve();
  const writeOut = createWriteOut(file.fd);
  const flush = async (): Promise<void> => {
    await writing;
    writeOut(written);
    if (batch.length === 0) return;
    writing = writeBatch(file, batch, bytes);
    written += bytes;
    writing.catch(() => undefined);
    batch = [];
    bytes = 0;
  };
  try {
    for await (const chunk of stream) {
      batch.push(chunk);
      bytes += chunk.length;
      if (bytes >= batchBytes) await flush();
    }
  } catch (thrown) {
    // The received bytes are written, so that the next source continues after them.
    await flush().catch(() => undefined);
    await writing.catch(() => undefined);
    throw thrown;
  }
  await flush();
  await writing;
}

async function writeBatch(file: FileHandle, batch: Uint8Array[], bytes: number): Promise<void> {
  const { bytesWritten } = await file.writev(batch);
  // A short write: the disk is nearly full, or a signal arrived. A plain write of the rest fails with the
  // reason.
  if (bytesWritten !== bytes) await file.writeFile(Buffer.concat(batch).subarray(bytesWritten));
  for (const chunk of batch) freeBuffer(chunk);
}
