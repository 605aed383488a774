import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

const batchBytes = 1024 * 1024;

/** Writes a stream to a file with mode 0600; replaces the file if it exists. */
export async function download(stream: AsyncIterable<Uint8Array>, path: string): Promise<void> {
  const file = await open(path, 'w', 0o600);
  try {
    await writeAll(file, stream);
  } finally {
    await file.close();
  }
}

/** Writes in batches; one write is in progress while the next batch is read. */
async function writeAll(file: FileHandle, stream: AsyncIterable<Uint8Array>): Promise<void> {
  let batch: Uint8Array[] = [];
  let bytes = 0;
  let writing: Promise<unknown> = Promise.resolve();
  const flush = async (): Promise<void> => {
    await writing;
    if (batch.length === 0) return;
    writing = writeBatch(file, batch, bytes);
    writing.catch(() => undefined);
    batch = [];
    bytes = 0;
  };
  for await (const chunk of stream) {
    batch.push(chunk);
    bytes += chunk.length;
    if (bytes >= batchBytes) await flush();
  }
  await flush();
  await writing;
}

async function writeBatch(file: FileHandle, batch: Uint8Array[], bytes: number): Promise<void> {
  const { bytesWritten } = await file.writev(batch);
  if (bytesWritten === bytes) return;
  // A short write: the disk is nearly full, or a signal arrived. A plain write of the rest fails with the
  // reason.
  const rest = Buffer.concat(batch).subarray(bytesWritten);
  await file.writeFile(rest);
}
