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
 * Returns the error for a layer archive that cannot be unpacked: the cause is the archive, never this
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
  // The path begins with the store's folder, so less than the kernel's limit is left for the name.
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
