import type { Platform } from '../../../trust/index.ts';
import { imageError } from '../limits/failures.ts';
import type { ImageLimits } from '../limits/limits.ts';
import { isObject, malformed, parseDescriptor, parseObject } from './json.ts';
import type { BlobDescriptor, JsonObject } from './json.ts';
import { manifestTypes } from './media-types.ts';

interface Candidate {
  readonly descriptor: BlobDescriptor;
  readonly platform: JsonObject;
}

/**
 * Returns the variants that run on a machine of the given one, best first (image-spec, image-index.md,
 * platform variants).
 */
function acceptableVariants(platform: Platform): readonly (string | undefined)[] {
  if (platform.architecture === 'arm64') return ['v8', undefined];
  if (platform.architecture === 'arm') {
    const newest = Number((platform.variant ?? 'v7').slice(1));
    return [
      ...[8, 7, 6, 5].filter((version) => version <= newest).map((version) => `v${version}`),
      undefined,
    ];
  }
  return platform.variant === undefined ? [undefined, 'v1'] : [platform.variant, undefined, 'v1'];
}

/**
 * Returns the manifest that an index offers for the platform. Throws IMAGES_BAD_INDEX, IMAGES_NO_PLATFORM.
 */
export function chooseManifest(
  bytes: Uint8Array,
  digest: string,
  platform: Platform,
  limits: ImageLimits,
): BlobDescriptor {
  const index = parseObject(bytes, 'IMAGES_BAD_INDEX', digest);
  if ('layers' in index || 'config' in index || 'fsLayers' in index)
    throw malformed('IMAGES_BAD_INDEX', digest, 'it also has the fields of a manifest');
  if (index['schemaVersion'] !== 2 || !Array.isArray(index['manifests']))
    throw malformed('IMAGES_BAD_INDEX', digest, 'it has no list of manifests');
  const entries: readonly unknown[] = index['manifests'];
  if (entries.length > limits.maxIndexEntries)
    throw malformed('IMAGES_BAD_INDEX', digest, `it lists more than ${limits.maxIndexEntries} manifests`);
  const candidates = entries.map((entry): Candidate => {
    const descriptor = parseDescriptor(entry, 'IMAGES_BAD_INDEX', digest, 'a manifest of the index');
    const stated = descriptor.raw['platform'];
    return { descriptor, platform: isObject(stated) ? stated : {} };
  });
  const matching = candidates.filter(
    ({ descriptor, platform: stated }) =>
      manifestTypes.has(descriptor.mediaType) &&
      stated['os'] === platform.os &&
      stated['architecture'] === platform.architecture,
  );
  for (const variant of acceptableVariants(platform)) {
    const found = matching.find(
      ({ platform: stated }) => (stated['variant'] === '' ? undefined : stated['variant']) === variant,
    );
    if (found !== undefined) return found.descriptor;
  }
  const offered = candidates.map(({ platform: stated }) => describe(stated)).filter((text) => text !== '');
  throw imageError({
    code: 'IMAGES_NO_PLATFORM',
    kind: 'not-found',
    attempted: 'choose the manifest for this platform from',
    on: digest,
    why: `the index offers nothing for ${platform.os}/${platform.architecture}, but it offers ${[...new Set(offered)].slice(0, 16).join(', ') || 'no platform'}`,
    fix: 'build the image for this platform',
  });
}

function describe(stated: JsonObject): string {
  const parts = [stated['os'], stated['architecture'], stated['variant']].filter(
    (part) => typeof part === 'string' && part !== '',
  );
  return parts.join('/').slice(0, 64);
}
