import type { PortcullisError } from '../../../base/errors/index.ts';
import { errnoOf, imageError, wrapImageError } from '../limits/failures.ts';
import type { ImageErrorCode } from '../limits/failures.ts';
import { printable } from './printable.ts';

const fixes: Partial<Record<ImageErrorCode, string>> = {
  IMAGES_LAYER_TOO_LARGE: 'build a smaller layer; the limits are in docs/configuration.md',
  IMAGES_LAYER_TRUNCATED: 'push the image again from a complete build',
  IMAGES_LAYER_UNSUPPORTED: 'build the layer with plain ustar, pax or GNU entries',
};

/**
 * Returns the error for a layer archive that cannot be unpacked: the archive is at fault, never the reader's
 * machine.
 */
export function layerError(code: ImageErrorCode, on: string, why: string, cause?: unknown): PortcullisError {
  return imageError({
    code,
    kind: code === 'IMAGES_LAYER_TOO_LARGE' ? 'exhausted' : 'data-loss',
    attempted: 'unpack layer entry',
    on,
    why,
    fix: fixes[code] ?? 'build the image again with a tool that writes OCI layers',
    ...(cause === undefined ? {} : { cause }),
  });
}

/**
 * Returns the error for a layer entry that the file system refuses. @param name of the entry, as in the
 * archive
 */
export function unwritable(thrown: unknown, name: string): PortcullisError {
  // The store's folder precedes the path: the kernel's limit leaves a little less than the limit of a name.
  if (errnoOf(thrown) === 'ENAMETOOLONG')
    return layerError('IMAGES_LAYER_BAD_NAME', printable(name), 'its path is too long for the file system');
  return wrapImageError(thrown, {
    code: 'IMAGES_LAYER_UNWRITABLE',
    kind: 'internal',
    attempted: 'write layer entry',
    on: printable(name),
    fix: 'see the reason; check the file system under the image store',
  });
}
