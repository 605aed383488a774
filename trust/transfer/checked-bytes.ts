import { createHash } from 'node:crypto';
import type { PortcullisError } from '../../base/errors/index.ts';
import { damaged } from './archive-errors.ts';

/**
 * Yields the bytes. Fails as soon as there are too many, and at the end if the digest or the size differs.
 */
export async function* checked(
  bytes: AsyncIterable<Uint8Array>,
  digest: string,
  size: number,
): AsyncIterable<Uint8Array> {
  const sum = startSum(digest, size);
  for await (const chunk of bytes) {
    sum.add(chunk);
    yield chunk;
  }
  sum.end();
}

/** Compares bytes with a digest and a size as they arrive. `add` and `end` throw TRUST_ARCHIVE_DAMAGED. */
export function startSum(
  digest: string,
  size: number,
): { length(): number; add(chunk: Uint8Array): void; end(): void } {
  const hash = createHash('sha256');
  let length = 0;
  const differs = (): PortcullisError => damaged(digest, 'its bytes do not match the digest');
  return {
    length: () => length,
    add(chunk) {
      length += chunk.length;
      if (length > size) throw differs();
      hash.update(chunk);
    },
    end() {
      if (length !== size || `sha256:${hash.digest('hex')}` !== digest) throw differs();
    },
  };
}
