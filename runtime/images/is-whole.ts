import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mayPass } from './limits/failures.ts';

/**
 * Returns whether a file has a digest. Reads all of it.
 * @throws the signal's reason; the error of the file when it says nothing about the file, such as EMFILE
 */
export async function isWhole(file: string, digest: string, signal: AbortSignal): Promise<boolean> {
  const [algorithm = ''] = digest.split(':');
  const hash = createHash(algorithm);
  try {
    for await (const chunk of createReadStream(file, {
      highWaterMark: 256 * 1024,
      signal,
    }) as AsyncIterable<Buffer>)
      hash.update(chunk);
  } catch (thrown) {
    signal.throwIfAborted();
    if (mayPass(thrown)) throw thrown;
    return false;
  }
  return `${algorithm}:${hash.digest('hex')}` === digest;
}
