import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { formatReference, parseReference } from '../../../base/distribution/index.ts';
import type { RegistryRepository } from '../../../base/distribution/index.ts';
import { parseJson } from '../../../base/json/index.ts';
import { openTemporaryFolder } from '../../../base/storage/index.ts';
import type { RegistryAccess } from '../../../trust/index.ts';
import { encodeLayer } from '../erofs/encode-layer.ts';
import { headBytes, pageBytes, roundUp } from '../erofs/format.ts';
import { defaultLimits } from '../limits/limits.ts';
import { parseImageConfig } from '../manifest/image-config.ts';
import { parseManifest } from '../manifest/image-manifest.ts';
import { indexTypes } from '../manifest/media-types.ts';
import { createJobCell, createWorkClock } from '../unpack/work-clock.ts';
import { badChunkIndex, chunkIndexTypes, chunkLimits, chunkTable, encodeChunkIndex } from './chunk-index.ts';
import type { ChunkIndexPredicate, LayerChunks } from './chunk-index.ts';
import { createFirstChunks } from './first-chunks.ts';
import type { FirstChunks } from './first-chunks.ts';
import { splitMembers } from './split-members.ts';

const ociManifest = 'application/vnd.oci.image.manifest.v1+json';
const emptyType = 'application/vnd.oci.empty.v1+json';

/** The image whose layers are indexed, and where to work. */
export interface ChunkIndexInput {
  /** The index is pushed to this repository, beside the image. */
  readonly repository: RegistryRepository;
  /** Digest of the image's index or manifest. */
  readonly digest: string;
  /** An empty folder for one blob and one layer file at a time. */
  readonly folder: string;
  readonly signal?: AbortSignal;
}

/**
 * Makes a chunk index for each platform of an image and pushes it beside the image. Fetches every layer, and
 * writes its file as a node would, so that the metadata in the index comes from our own encoder.
 * @returns the predicate that the publisher signs
 * @throws IMAGES_BAD_CHUNK_INDEX for an image that cannot be started lazily, and the errors of a pull
 */
export async function makeChunkIndex(input: ChunkIndexInput): Promise<ChunkIndexPredicate> {
  const { repository, digest, signal } = input;
  const top = await repository.manifest(digest, signal);
  const children =
    top.content.kind === 'index'
      ? // BuildKit lists its attestations as images for the platform "unknown".
        top.content.manifests.filter(({ platform }) => platform?.os !== 'unknown')
      : [top];
  if (children.length === 0) throw badChunkIndex(digest, 'the image has no platform');
  const images: { manifest: string; artifact: { digest: string; size: number } }[] = [];
  for (const child of children)
    images.push({ manifest: child.digest, artifact: await indexManifest(input, child.digest) });
  return { images };
}

/**
 * Does the same as {@link makeChunkIndex} for a reference, in a folder for temporary files.
 * @returns the predicate, and the reference by digest that it describes
 */
export async function makeChunkIndexOf(
  reference: string,
  registry: Pick<RegistryAccess, 'repositories'>,
): Promise<{ readonly name: string; readonly predicate: ChunkIndexPredicate }> {
  const parsed = parseReference(reference);
  // Pushes go to the last of the repositories to ask: the origin, unless a mirror replaces it.
  const repository = (await registry.repositories(parsed)).at(-1);
  if (repository === undefined) throw badChunkIndex(reference, 'no registry serves the image');
  const { digest } = await repository.resolve(parsed.digest ?? parsed.tag ?? 'latest');
  const temporary = await openTemporaryFolder('portcullis-chunk-index-');
  try {
    const predicate = await makeChunkIndex({ repository, digest, folder: temporary.path });
    const { registry: host, repository: path } = parsed;
    return { name: formatReference({ registry: host, repository: path, digest }), predicate };
  } finally {
    await temporary.close();
  }
}

async function indexManifest(
  { repository, folder, signal = new AbortController().signal }: ChunkIndexInput,
  digest: string,
): Promise<{ readonly digest: string; readonly size: number }> {
  const fetched = await repository.manifest(digest, signal);
  if (indexTypes.has(fetched.mediaType))
    throw badChunkIndex(digest, 'the image index contains another image index');
  const { config, layers, artifact } = parseManifest(fetched.bytes, digest, defaultLimits);
  if (artifact !== undefined) throw badChunkIndex(digest, 'it is an artifact, and not an image');
  const configBytes = await repository.blobBytes(config, defaultLimits.maxConfigBytes, signal);
  const said = parseJson(Buffer.from(configBytes).toString('utf8')) as { os: string; architecture: string };
  const { config: invocation, diffIds } = parseImageConfig(configBytes, config.digest, layers.length, said);
  const first = createFirstChunks();
  const indexed: LayerChunks[] = [];
  for (const [at, blob] of layers.entries()) {
    const path = `${folder}/blob`;
    try {
      await pipeline(await repository.blob(blob, signal), createWriteStream(path, { mode: 0o600 }), {
        signal,
      });
      const place = { folder, path, isLowest: at === 0, first };
      indexed.push(await indexLayer(repository, place, blob, diffIds[at] ?? '', signal));
    } finally {
      await rm(path, { force: true });
    }
  }
  const bytes = encodeChunkIndex({ manifest: digest, layers: first.markIn(indexed, invocation) });
  if (bytes.length > chunkLimits.indexBytes)
    throw badChunkIndex(digest, `the index would have more than ${chunkLimits.indexBytes} bytes`);
  const index = await repository.pushBlob(bytes, { signal });
  const empty = await repository.pushBlob(Buffer.from('{}'), { signal });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: ociManifest,
      artifactType: chunkIndexTypes.artifact,
      config: { ...empty, mediaType: emptyType },
      layers: [
        { ...index, mediaType: chunkIndexTypes.index },
        ...indexed.map(({ metadata }) => ({ ...metadata, mediaType: chunkIndexTypes.metadata })),
      ],
      subject: { mediaType: fetched.mediaType, digest, size: fetched.bytes.length },
    }),
  );
  const pushed = await repository.pushReferrer(manifest, ociManifest, { signal });
  return { digest: pushed.digest, size: manifest.length };
}

async function indexLayer(
  repository: RegistryRepository,
  place: { folder: string; path: string; isLowest: boolean; first: FirstChunks },
  { digest, size }: { readonly digest: string; readonly size: number },
  diffId: string,
  signal: AbortSignal,
): Promise<LayerChunks> {
  const { folder, path: blobPath, isLowest, first } = place;
  const { chunks } = await splitMembers(blobPath, digest);
  const path = `${folder}/layer.erofs`;
  try {
    const clock = createWorkClock(createJobCell(), diffId);
    const encoded = await encodeLayer(
      { blob: blobPath, path, diffId, lowest: isLowest, limits: defaultLimits },
      () => Promise.reject(dependent(digest)),
      clock,
      signal,
    );
    const archiveBytes = chunks.reduce((sum, { bytes }) => sum + bytes, 0);
    const from = roundUp(headBytes + archiveBytes, pageBytes);
    const metadata = await pushMetadata(repository, path, from, encoded.bytes, digest, signal);
    await readArchive(path, chunks, first);
    return {
      ...{
        blob: { digest, size },
        diffId,
        dependent: encoded.dependent,
        archiveBytes,
        fileBytes: encoded.bytes,
      },
      ...{ metadataSha256: encoded.metadataSha256, metadata, chunks },
    };
  } finally {
    await rm(path, { force: true });
  }
}

/** Has the archive in a layer file read, chunk by chunk. */
async function readArchive(path: string, chunks: LayerChunks['chunks'], first: FirstChunks): Promise<void> {
  const table = chunkTable({ chunks });
  await using file = await open(path, 'r');
  await first.addLayer(table.count, async (chunk) => {
    const { at, bytes } = table.place(chunk);
    const content = Buffer.allocUnsafe(bytes);
    await file.read(content, 0, bytes, at);
    return content;
  });
}

/** Pushes the head of a layer file, and everything behind its archive, as one blob. */
async function pushMetadata(
  repository: RegistryRepository,
  path: string,
  from: number,
  fileBytes: number,
  on: string,
  signal: AbortSignal,
): Promise<{ readonly digest: string; readonly size: number }> {
  const size = headBytes + fileBytes - from;
  if (size > chunkLimits.metadataBytes)
    throw badChunkIndex(on, `its metadata has more than ${chunkLimits.metadataBytes} bytes`);
  const head = Buffer.alloc(headBytes);
  await using file = await open(path, 'r');
  await file.read(head, 0, headBytes, 0);
  async function* parts(): AsyncGenerator<Uint8Array> {
    yield head;
    yield* createReadStream(path, { start: from }) as AsyncIterable<Buffer>;
  }
  const hash = createHash('sha256');
  for await (const part of parts()) hash.update(part);
  const digest = `sha256:${hash.digest('hex')}`;
  await repository.pushBlobFrom({ digest, size }, parts, { signal });
  return { digest, size };
}

function dependent(on: string): Error {
  return badChunkIndex(
    on,
    'the layer has hard links to files of the layers below, or entries in folders that only the layers below have, so its file depends on them',
    'build the layer with an entry for each folder and both names of each link',
  );
}
