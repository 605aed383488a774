import { choosePlatform, osFeaturesOf } from '../../../base/distribution/index.ts';
import type { Platform } from '../../../base/distribution/index.ts';
import { imageError } from '../limits/failures.ts';
import type { ImageLimits } from '../limits/limits.ts';
import { isObject, malformed, parseDescriptor, parseObject } from './json.ts';
import type { BlobDescriptor } from './json.ts';
import { indexTypes, manifestTypes } from './media-types.ts';

interface Candidate extends BlobDescriptor {
  readonly platform?: Platform;
  readonly artifactType?: string;
}

/**
 * Returns the manifest, or the nested index, that an index offers for the platform. Throws IMAGES_BAD_INDEX,
 * IMAGES_NO_PLATFORM.
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
    const { artifactType } = descriptor.raw;
    const stated = platformOf(descriptor.raw['platform']);
    return {
      ...descriptor,
      ...(stated === undefined ? {} : { platform: stated }),
      ...(typeof artifactType === 'string' && artifactType !== '' ? { artifactType } : {}),
    };
  });
  const images = candidates.filter(
    ({ mediaType }) => manifestTypes.has(mediaType) || indexTypes.has(mediaType),
  );
  const chosen = choosePlatform(images, platform);
  if (chosen !== undefined) return chosen;
  const offered = candidates.flatMap(({ platform: stated }) =>
    stated === undefined ? [] : [describe(stated)],
  );
  throw imageError({
    code: 'IMAGES_NO_PLATFORM',
    kind: 'not-found',
    attempted: 'choose the manifest for this platform from',
    on: digest,
    why: `the index offers nothing for ${platform.os}/${platform.architecture}, but it offers ${[...new Set(offered)].slice(0, 16).join(', ') || 'no platform'}`,
    fix: 'build the image for this platform',
  });
}

/** An object without the two required fields states no platform. */
function platformOf(stated: unknown): Platform | undefined {
  if (!isObject(stated)) return undefined;
  const { os, architecture, variant } = stated;
  if (typeof os !== 'string' || typeof architecture !== 'string') return undefined;
  return {
    os,
    architecture,
    ...(typeof variant === 'string' && variant !== '' ? { variant } : {}),
    ...osFeaturesOf(stated),
  };
}

/** Returns a platform as containerd writes it: `linux(+erofs)/amd64`. */
function describe({ os, architecture, variant, osFeatures }: Platform): string {
  const system = osFeatures === undefined ? os : `${os}(+${osFeatures.join('+')})`;
  return [system, architecture, ...(variant === undefined ? [] : [variant])].join('/').slice(0, 64);
}
