import { setTimeout as sleep } from 'node:timers/promises';
import { parseJson } from '../../base/json/index.ts';
import { isPortcullisError } from '../../base/errors/index.ts';
import type {
  Descriptor,
  FetchedManifest,
  RegistryRepository,
  SharedList,
} from '../../base/distribution/index.ts';
import {
  bundleContentAnnotation,
  bundleMediaType,
  emptyType,
  ociConfigType,
  ociManifestType,
  predicateTypeAnnotation,
} from '../evidence/cosign-names.ts';
import { canonicalJson } from '../json/canonical-json.ts';
import { recordOf, textOf } from '../json/strict-json.ts';
import { isNotFound } from '../evidence/collection.ts';

/** The signature or attestation that was attached to an image. */
export interface Attached {
  /** Digest of the manifest that holds it. */
  readonly manifestDigest: string;
  /** `referrers`, `fallback-tag`, or the tag. */
  readonly via: string;
}

/**
 * Attaches a sigstore bundle with a DSSE envelope to an image, as cosign v3 does: an artifact whose subject
 * is the image.
 * @throws PortcullisError of base/distribution
 */
export async function attachBundle(
  repository: RegistryRepository,
  digest: string,
  bundle: Buffer,
  about: { readonly predicateType: string; readonly now: Date; readonly signal?: AbortSignal | undefined },
): Promise<Attached> {
  const { predicateType, now, signal } = about;
  return attachArtifact(
    repository,
    await repository.resolve(digest, signal),
    {
      // cosign also names the type in the configuration, from which registries without OCI 1.1 take a
      // listing's artifactType.
      artifactType: bundleMediaType,
      config: { mediaType: emptyType, artifactType: bundleMediaType },
      mediaType: bundleMediaType,
      bytes: bundle,
      annotations: { [bundleContentAnnotation]: 'dsse-envelope', [predicateTypeAnnotation]: predicateType },
    },
    now,
    signal,
  );
}

/** An artifact of one layer whose subject is another manifest. */
export interface Artifact {
  /** Absent: the media type of the configuration states it, as in image-spec 1.0. */
  readonly artifactType?: string;
  readonly config: Readonly<Record<string, string>>;
  readonly mediaType: string;
  readonly bytes: Buffer;
  readonly annotations: Readonly<Record<string, string>>;
}

/**
 * Pushes an artifact whose subject is a manifest, with its creation time. @throws PortcullisError of
 * base/distribution
 */
export async function attachArtifact(
  repository: RegistryRepository,
  subject: Descriptor,
  { artifactType, config, mediaType, bytes, annotations }: Artifact,
  now: Date,
  signal?: AbortSignal,
): Promise<Attached> {
  const options = signal === undefined ? {} : { signal };
  const [layer, empty] = await Promise.all([
    repository.pushBlob(bytes, options),
    repository.pushBlob(Buffer.from('{}'), options),
  ]);
  const manifest = {
    schemaVersion: 2,
    mediaType: ociManifestType,
    ...(artifactType === undefined ? {} : { artifactType }),
    config: { ...config, digest: empty.digest, size: empty.size },
    layers: [{ mediaType, digest: layer.digest, size: layer.size }],
    subject: { mediaType: subject.mediaType, digest: subject.digest, size: subject.size },
    annotations: {
      ...annotations,
      'org.opencontainers.image.created': now.toISOString().replace(/\.\d+Z$/, 'Z'),
    },
  };
  const pushed = await repository.pushReferrer(
    Buffer.from(JSON.stringify(manifest)),
    ociManifestType,
    options,
  );
  return { manifestDigest: pushed.digest, via: pushed.via };
}

/** One layer of cosign's older forms, with its annotations. */
export interface TagLayer {
  readonly mediaType: string;
  readonly bytes: Buffer;
  readonly annotations: Readonly<Record<string, string>>;
}

/**
 * Adds a layer to the manifest under one of cosign's older tags (`sha256-<hex>.sig`, `.att`). Keeps the
 * existing layers and those that other clients add at the same time.
 * @throws PortcullisError of base/distribution
 */
export async function attachToTag(
  repository: RegistryRepository,
  tag: string,
  layer: TagLayer,
  signal?: AbortSignal,
): Promise<Attached> {
  const options = signal === undefined ? {} : { signal };
  const { size, digest } = await repository.pushBlob(layer.bytes, options);
  const entry = { mediaType: layer.mediaType, digest, size, annotations: layer.annotations };
  const list = tagListWith(repository, [entry]);
  return { manifestDigest: await repository.addUnderTag(tag, list, options), via: tag };
}

/** Returns how layers, whose blobs the repository has, are added under one of cosign's older tags. */
function tagListWith(
  repository: RegistryRepository,
  added: readonly unknown[],
  mediaType = ociManifestType,
): SharedList {
  return {
    mediaType,
    added,
    entriesOf: layersIn,
    keyOf: layerKey,
    async build(layers) {
      const config = await pushConfig(
        repository,
        layers.map((one) => textOf(recordOf(one)?.['digest']) ?? ''),
      );
      return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, config, layers }));
    },
  };
}

function layersIn({ bytes, content }: FetchedManifest): unknown[] {
  // An index under such a tag is not a signature: it is replaced.
  const layers =
    content.kind === 'manifest' ? recordOf(parseJson(Buffer.from(bytes).toString('utf8')))?.['layers'] : [];
  return Array.isArray(layers) ? (layers as unknown[]) : [];
}

/** Several signers may sign one payload: the annotations distinguish their signatures. */
const layerKey = (entry: unknown): string =>
  canonicalJson([recordOf(entry)?.['digest'], recordOf(entry)?.['annotations']]);

/** Returns a text for each entry of a manifest of one of cosign's older tags: its digest and annotations. */
export function tagEntries(found: FetchedManifest): readonly string[] {
  return layersIn(found).map(layerKey);
}

/**
 * Copies a manifest of one of cosign's older tags to a repository that has its blobs. If the repository has
 * layers of its own under the tag, or another client adds some at the same time, they stay, and those that it
 * lacks are added.
 * @throws PortcullisError of base/distribution
 */
export async function copyToTag(
  repository: RegistryRepository,
  tag: string,
  copied: FetchedManifest,
  signal?: AbortSignal,
): Promise<void> {
  const list = tagListWith(repository, layersIn(copied), copied.mediaType);
  const keys = JSON.stringify(tagEntries(copied));
  const isCopied = (layers: readonly unknown[]): boolean => JSON.stringify(layers.map(layerKey)) === keys;
  await repository.addUnderTag(
    tag,
    {
      ...list,
      build: (layers, fields) =>
        isCopied(layers) ? Promise.resolve(copied.bytes) : list.build(layers, fields),
    },
    signal === undefined ? {} : { signal },
  );
}

/**
 * Returns the layers under one of cosign's older tags; none when there is no such tag. Registries fail for
 * moments while a tag is written, so reading is retried.
 */
export async function layersAt(
  repository: RegistryRepository,
  tag: string,
  signal?: AbortSignal,
): Promise<readonly Descriptor[]> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const { content } = await repository.manifest(tag, signal);
      return content.kind === 'manifest' ? content.layers : [];
    } catch (error) {
      if (isNotFound(error)) return [];
      if (!isPortcullisError(error) || error.kind !== 'unavailable' || attempt === 5) throw error;
      await sleep(50 * 2 ** attempt, undefined, { signal });
    }
  }
}

/**
 * Pushes the configuration. cosign's older form is an image: its configuration lists the payloads as layers,
 * which are stored uncompressed.
 */
async function pushConfig(
  repository: RegistryRepository,
  layers: readonly string[],
): Promise<Pick<Descriptor, 'mediaType' | 'digest' | 'size'>> {
  const config = {
    architecture: '',
    created: '0001-01-01T00:00:00Z',
    history: layers.map(() => ({ created: '0001-01-01T00:00:00Z' })),
    os: '',
    rootfs: { type: 'layers', diff_ids: layers },
    config: {},
  };
  const { digest, size } = await repository.pushBlob(Buffer.from(JSON.stringify(config)));
  return { mediaType: ociConfigType, digest, size };
}
