import { imageError } from '../limits/failures.ts';
import type { ImageLimits } from '../limits/limits.ts';
import { checkArtifactSize, parseArtifact } from './artifact-manifest.ts';
import type { ArtifactContent } from './artifact-manifest.ts';
import { malformed, parseDescriptor, parseObject } from './json.ts';
import type { BlobDescriptor } from './json.ts';
import { configTypes, isForeignLayer, layerTypes } from './media-types.ts';

export interface ImageManifest {
  readonly config: BlobDescriptor;
  /** Lowest first. */
  readonly layers: readonly BlobDescriptor[];
  /** Set when the manifest describes no image: its layers are files. */
  readonly artifact?: ArtifactContent;
}

/**
 * Reads the manifest of an image or of an artifact (image-spec, manifest.md; Docker schema 2). The type of
 * its configuration decides which of the two it is. Refuses a document that could also be read as an index
 * (CVE-2021-41190), and foreign layers (CVE-2020-15157). Throws IMAGES_BAD_ARTIFACT, IMAGES_BAD_MANIFEST,
 * IMAGES_TOO_LARGE.
 */
export function parseManifest(bytes: Uint8Array, digest: string, limits: ImageLimits): ImageManifest {
  const manifest = parseObject(bytes, 'IMAGES_BAD_MANIFEST', digest);
  if ('manifests' in manifest || 'fsLayers' in manifest)
    throw malformed('IMAGES_BAD_MANIFEST', digest, 'it also has the fields of another document type');
  // Go writes an empty list as null.
  const listed: unknown = manifest['layers'] === null ? [] : manifest['layers'];
  if (manifest['schemaVersion'] !== 2 || !Array.isArray(listed))
    throw malformed('IMAGES_BAD_MANIFEST', digest, 'it has no list of layers');
  const config = parseDescriptor(manifest['config'], 'IMAGES_BAD_MANIFEST', digest, 'the configuration');
  if (config.size > limits.maxConfigBytes)
    throw tooLarge(
      digest,
      `its configuration has ${config.size} bytes, and the limit is ${limits.maxConfigBytes}`,
    );
  if (listed.length > limits.maxLayers)
    throw tooLarge(digest, `it has ${listed.length} layers, and the limit is ${limits.maxLayers}`);
  if (!configTypes.has(config.mediaType)) {
    const { artifact, blobs } = parseArtifact(manifest, listed, config.mediaType, digest);
    checkArtifactSize(blobs, digest, limits);
    checkSizes(blobs, digest);
    return { config: plain(config), layers: blobs.map(plain), artifact };
  }
  const layers = listed.map((entry: unknown, index) =>
    parseLayer(entry, digest, `layer ${index + 1}`, limits),
  );
  checkSizes(layers, digest);
  const total = layers.reduce((sum, layer) => sum + layer.size, 0);
  if (total > limits.maxImageBytes)
    throw tooLarge(
      digest,
      `its layers have ${total} bytes together, and the limit is ${limits.maxImageBytes}`,
    );
  return { config: plain(config), layers };
}

function parseLayer(entry: unknown, digest: string, what: string, limits: ImageLimits): BlobDescriptor {
  const layer = parseDescriptor(entry, 'IMAGES_BAD_MANIFEST', digest, what);
  const urls = layer.raw['urls'];
  if (isForeignLayer(layer.mediaType) || (Array.isArray(urls) && urls.length > 0)) {
    throw malformed(
      'IMAGES_BAD_MANIFEST',
      digest,
      `${what} is a foreign layer: its author chooses the addresses from which it is fetched`,
    );
  }
  if (!layerTypes.has(layer.mediaType))
    throw malformed(
      'IMAGES_BAD_MANIFEST',
      digest,
      `${what} has the media type ${printable(layer.mediaType)}, which is not a layer`,
    );
  if (layer.size > limits.maxBlobBytes)
    throw tooLarge(digest, `${what} has ${layer.size} bytes, and the limit is ${limits.maxBlobBytes}`);
  return plain(layer);
}

/** A blob that is listed twice is fetched once: its size must be the same. */
function checkSizes(blobs: readonly BlobDescriptor[], digest: string): void {
  const sizes = new Map<string, number>();
  for (const blob of blobs) {
    const other = sizes.get(blob.digest) ?? blob.size;
    if (other !== blob.size)
      throw malformed(
        'IMAGES_BAD_MANIFEST',
        digest,
        `it lists the blob ${blob.digest} with ${other} bytes and with ${blob.size} bytes`,
      );
    sizes.set(blob.digest, blob.size);
  }
}

function plain({ mediaType, digest, size }: BlobDescriptor): BlobDescriptor {
  return { mediaType, digest, size };
}

function printable(text: string): string {
  return JSON.stringify(text.slice(0, 128));
}

function tooLarge(on: string, why: string): Error {
  return imageError({
    code: 'IMAGES_TOO_LARGE',
    kind: 'exhausted',
    attempted: 'read image manifest',
    on,
    why,
    fix: 'build a smaller image',
  });
}
