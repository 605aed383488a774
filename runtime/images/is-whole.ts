import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';

/** Returns whether a file has a digest. Reads all of it. @throws the signal's reason */
export async function isWhole(file: string, digest: string, signal: AbortSignal): Promise<boolean> {
  const [algorithm = ''] = digest.split(':');
  const hash = createHash(algorithm);
  try {
    for await (const chunk of createReadStream(file, {
      highWaterMark: 256 * 1024,
      signal,
    }) as AsyncIterable<Buffer>)
      hash.update(chunk);
  } catch {
    signal.throwIfAborted();
    return false;
  }
  return `${algorithm}:${hash.digest('hex')}` === digest;
}
