import { imageError } from '../limits/failures.ts';
import type { ImageLimits } from '../limits/limits.ts';
import type { ImageConfig } from './image-config.ts';
import { isObject, parseDescriptor } from './json.ts';
import type { BlobDescriptor, JsonObject } from './json.ts';
import { isForeignLayer } from './media-types.ts';

/** The type of an artifact, and the files that a container gets from it. */
export interface ArtifactContent {
  /**
   * `artifactType` of the manifest, or else the media type of its configuration (image-spec, manifest.md).
   */
  readonly type: string;
  /** The path of each file in the volume, in the order of its blobs. */
  readonly paths: readonly string[];
}

/**
 * The descriptor that a manifest without content names (image-spec, manifest.md, "Guidance for an Empty
 * Descriptor").
 */
const emptyType = 'application/vnd.oci.empty.v1+json';
/**
 * The annotations that name the file of a layer: those of image-spec (annotations.md) and of the CNCF model
 * format (model-spec).
 */
const pathAnnotations = ['org.opencontainers.image.title', 'org.cncf.model.filepath'] as const;
/** Linux's limit of one name (NAME_MAX). */
const maxNameBytes = 255;
const maxPathBytes = 1024;
const maxDepth = 32;

/**
 * Reads the files of an artifact manifest (image-spec, manifest.md, "Guidelines for Artifact Usage"). A layer
 * that no annotation names is not a file, and is not fetched. Throws IMAGES_BAD_ARTIFACT,
 * IMAGES_BAD_MANIFEST.
 * @param layers the list of layers, not checked yet
 */
export function parseArtifact(
  manifest: JsonObject,
  layers: readonly unknown[],
  configType: string,
  digest: string,
): { readonly artifact: ArtifactContent; readonly blobs: readonly BlobDescriptor[] } {
  // The same bytes must not also be the configuration of an image: both would have the same id.
  if ('rootfs' in manifest) throw badArtifact(digest, 'it also has the fields of an image configuration');
  const type = manifest['artifactType'] ?? configType;
  if (typeof type !== 'string' || type === '' || type.length > 255)
    throw badArtifact(digest, 'its artifact type is not a media type');
  const paths: string[] = [];
  const blobs: BlobDescriptor[] = [];
  for (const [index, entry] of layers.entries()) {
    const what = `layer ${index + 1}`;
    const layer = parseDescriptor(entry, 'IMAGES_BAD_MANIFEST', digest, what);
    const path = pathOf(layer.raw, digest, what);
    if (path === undefined || layer.mediaType === emptyType) continue;
    const urls = layer.raw['urls'];
    if (isForeignLayer(layer.mediaType) || (Array.isArray(urls) && urls.length > 0))
      throw badArtifact(
        digest,
        `${what} has urls, so its author chooses the addresses from which it is fetched`,
      );
    paths.push(path);
    blobs.push(layer);
  }
  if (paths.length === 0)
    throw badArtifact(
      digest,
      `none of its layers has the annotation ${pathAnnotations[0]}, so it contains no file`,
    );
  checkTree(paths, digest);
  return { artifact: { type, paths }, blobs };
}

/** Returns the configuration that is recorded for an artifact: it cannot run. */
export function artifactConfig(type: string): ImageConfig {
  const none = {
    architecture: '',
    os: '',
    user: '',
    env: [],
    entrypoint: [],
    cmd: [],
    workingDir: '',
    volumes: [],
  };
  return { ...none, labels: {}, stopSignal: '', artifactType: type };
}

/** @throws IMAGES_TOO_LARGE when the files exceed what an image may have */
export function checkArtifactSize(
  blobs: readonly BlobDescriptor[],
  digest: string,
  limits: ImageLimits,
): void {
  const total = blobs.reduce((sum, { size }) => sum + size, 0);
  const most = Math.min(limits.maxImageBytes, limits.maxLayerBytes);
  const large = blobs.find(({ size }) => size > limits.maxBlobBytes);
  if (large === undefined && total <= most) return;
  throw imageError({
    code: 'IMAGES_TOO_LARGE',
    kind: 'exhausted',
    attempted: 'read artifact manifest',
    on: digest,
    why:
      large === undefined
        ? `its files have ${total} bytes together, and the limit is ${most}`
        : `a file has ${large.size} bytes, and the limit is ${limits.maxBlobBytes}`,
    fix: 'push smaller files, or several artifacts',
  });
}

function pathOf(layer: JsonObject, digest: string, what: string): string | undefined {
  const annotations = layer['annotations'];
  if (!isObject(annotations)) return undefined;
  const key = pathAnnotations.find((name) => annotations[name] !== undefined);
  if (key === undefined) return undefined;
  const path = annotations[key];
  const why = typeof path === 'string' ? flawOf(path) : 'its value is not a string';
  if (why !== undefined) throw badArtifact(digest, `the annotation ${key} of ${what} names no file: ${why}`);
  return path as string;
}

/** Returns why a path cannot be the path of a file in a volume; undefined when it can. */
function flawOf(path: string): string | undefined {
  if (path === '') return 'it is empty';
  if (!path.isWellFormed() || Buffer.byteLength(path) > maxPathBytes)
    return `it is not UTF-8 of at most ${maxPathBytes} bytes`;
  if (/\p{Cc}/u.test(path)) return 'it contains a control character';
  const names = path.split('/');
  if (names.length > maxDepth) return `it is more than ${maxDepth} folders deep`;
  for (const name of names) {
    if (name === '' || name === '.' || name === '..')
      return 'it is not a relative path without empty parts, "." and ".."';
    if (Buffer.byteLength(name) > maxNameBytes)
      return `one of its names is longer than ${maxNameBytes} bytes`;
    // In a layer, such a name removes a file of the layers below (image-spec, layer.md, "Whiteouts").
    if (name.startsWith('.wh.')) return 'one of its names begins with ".wh."';
  }
  return undefined;
}

/** Refuses two files at one path, and a file at the path of a folder. */
function checkTree(paths: readonly string[], digest: string): void {
  const files = new Set(paths);
  if (files.size !== paths.length) throw badArtifact(digest, 'two of its layers name the same file');
  for (const path of paths) {
    for (let end = path.indexOf('/'); end >= 0; end = path.indexOf('/', end + 1)) {
      if (files.has(path.slice(0, end)))
        throw badArtifact(
          digest,
          'one of its layers names a file at a path where another layer needs a folder',
        );
    }
  }
}

function badArtifact(on: string, why: string): Error {
  return imageError({
    code: 'IMAGES_BAD_ARTIFACT',
    kind: 'data-loss',
    attempted: 'read artifact manifest',
    on,
    why,
    fix: `push the artifact again, with a relative path in the annotation ${pathAnnotations[0]} of each file`,
  });
}
