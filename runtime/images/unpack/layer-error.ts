import type { PortcullisError } from '../../../base/errors/index.ts';
import { imageError } from '../failures.ts';
import type { ImageErrorCode } from '../failures.ts';

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
