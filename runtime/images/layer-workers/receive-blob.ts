import { closeSync, createReadStream, openSync, writeSync } from 'node:fs';
import { attempt } from '../../../base/errors/index.ts';
import { createWriteOut } from '../../../base/kernel/index.ts';
import { sizeIfPresent } from './download.ts';
import type { FetchBlob } from './download.ts';

/**
 * Size of the buffer into which each connection receives. A larger one is not in the processor's cache any
 * more when its bytes are hashed and written.
 */
export const receiveBytes = 512 * 1024;
/** Smaller pieces, such as the records of TLS, are collected before they are written. */
const leastWrite = 64 * 1024;
const batchBytes = 256 * 1024;

/**
 * Does the same as `download`, in a thread that may block: each piece is hashed and written before the next
 * one is received into the same memory.
 * @throws PortcullisError of base/distribution, the error of the file system; the file then holds what has
 * arrived
 */
export const receiveBlob: FetchBlob = async (repository, descriptor, path, signal) => {
  const begun = await sizeIfPresent(path);
  // Before the request: without a reader of its body, an answer keeps its connection.
  const fd = openSync(path, begun === 0 ? 'w' : 'a', 0o600);
  try {
    const left = begun === 0 ? undefined : createReadStream(path, { end: begun - 1 });
    const content = await repository.blob(descriptor, signal, left);
    const file = createBatches(fd, begun);
    try {
      if (content.each === undefined) for await (const chunk of content) file.add(chunk);
      else await content.each(file.add);
    } catch (thrown) {
      // The next source continues after the bytes that arrived.
      attempt(file.flush);
      throw thrown;
    }
    file.flush();
  } finally {
    closeSync(fd);
  }
};

/** Appends to a file. @param begun length of the file */
function createBatches(fd: number, begun: number) {
  const writeOut = createWriteOut(fd);
  let batch: Buffer | undefined;
  let [collected, written] = [0, begun];

  function append(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length;) {
      const count = writeSync(fd, bytes, done);
      [done, written] = [done + count, written + count];
    }
    writeOut(written);
  }

  function flush(): void {
    if (batch === undefined || collected === 0) return;
    const bytes = batch.subarray(0, collected);
    // A write that fails is not tried again.
    collected = 0;
    append(bytes);
  }

  return {
    add(bytes: Uint8Array): void {
      if (collected + bytes.length > batchBytes || bytes.length >= leastWrite) flush();
      if (bytes.length >= leastWrite) return append(bytes);
      batch ??= Buffer.allocUnsafeSlow(batchBytes);
      batch.set(bytes, collected);
      collected += bytes.length;
    },
    flush,
  };
}
