import { createHash } from 'node:crypto';
import { headBytes, maxFileBytes, pageBytes, roundUp } from '../erofs/format.ts';
import { imageError } from '../limits/failures.ts';
import { isObject } from '../manifest/json.ts';
import { parseJson } from '../../../base/json/index.ts';

/** The media types of a chunk index in a registry. */
export const chunkIndexTypes = {
  artifact: 'application/vnd.portcullis.chunk-index.v1',
  index: 'application/vnd.portcullis.chunk-index.v1+json',
  metadata: 'application/vnd.portcullis.erofs-metadata.v1',
} as const;

/** Bounds on what a chunk index may claim. */
export const chunkLimits = {
  /** Uncompressed and compressed bytes of one chunk: each fetch keeps both in memory. */
  chunkBytes: 4 * 1024 * 1024,
  chunks: 1_000_000,
  indexBytes: 8 * 1024 * 1024,
  metadataBytes: 256 * 1024 * 1024,
  /** Chunks of one layer that are fetched first. */
  first: 64,
  /** Compressed bytes of all chunks of an image that its publisher has fetched first. */
  firstBytes: 16 * 1024 * 1024,
  /** The signed predicate, with one entry for each platform. */
  predicateBytes: 64 * 1024,
} as const;

/**
 * A part of a layer's archive, and the part of its blob that inflates to it. Both follow the parts of the
 * previous chunk.
 */
export interface Chunk {
  readonly bytes: number;
  readonly blobBytes: number;
  /** sha256, in hex, of the part of the blob: nothing is inflated that was not signed. */
  readonly sha256: string;
}

/** How the file of one layer is filled from its blob. */
export interface LayerChunks {
  readonly blob: { readonly digest: string; readonly size: number };
  readonly diffId: string;
  /**
   * The lowest layer has folders without an entry, or links without a target: in a higher layer, these would
   * depend on the layers below.
   */
  readonly dependent: boolean;
  /** Length of the archive, which begins behind the head of the file. */
  readonly archiveBytes: number;
  /** Length of the file. */
  readonly fileBytes: number;
  /** sha256, in hex, of everything in the file that is not the archive, as the store records it. */
  readonly metadataSha256: string;
  /** The blob with the head of the file, and everything behind the archive. */
  readonly metadata: { readonly digest: string; readonly size: number };
  readonly chunks: readonly Chunk[];
  /**
   * Numbers of the chunks that the first process will probably read: they are fetched before a process
   * waits for them. Earlier releases neither write nor read this.
   */
  readonly first?: readonly number[];
}

export interface ChunkIndex {
  /** The manifest of the image, for one platform. */
  readonly manifest: string;
  /** Lowest first, one for each layer of the manifest. */
  readonly layers: readonly LayerChunks[];
}

const digestPattern = /^sha256:[0-9a-f]{64}$/;
const hexPattern = /^[0-9a-f]{64}$/;

/** Encodes an index. The same index gives the same bytes. */
export function encodeChunkIndex({ manifest, layers }: ChunkIndex): Buffer {
  return Buffer.from(
    JSON.stringify({
      version: 1,
      manifest,
      layers: layers.map(({ chunks, ...layer }) => ({
        ...layer,
        chunks: chunks.map(({ bytes, blobBytes, sha256 }) => [bytes, blobBytes, sha256]),
      })),
    }),
  );
}

/**
 * Reads an index. The chunks of each layer cover its archive and its blob exactly, so no part can be missing
 * or be claimed twice.
 * @throws IMAGES_BAD_CHUNK_INDEX
 */
export function parseChunkIndex(bytes: Uint8Array, on: string): ChunkIndex {
  const refuse = (why: string): never => {
    throw badChunkIndex(on, why);
  };
  let value: unknown;
  try {
    value = parseJson(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    refuse('it is not JSON in UTF-8');
  }
  if (!isObject(value) || value['version'] !== 1) return refuse('it is not an index of version 1');
  const { manifest, layers } = value;
  if (!isDigest(manifest)) return refuse('it does not name a manifest');
  if (!Array.isArray(layers) || layers.length === 0 || layers.length > 500)
    return refuse('it has no list of 1 to 500 layers');
  return { manifest, layers: layers.map((layer, at) => parseLayer(layer, at, refuse)) };
}

function parseLayer(value: unknown, index: number, refuse: (why: string) => never): LayerChunks {
  const what = `layer ${index}`;
  if (!isObject(value)) return refuse(`${what} is not an object`);
  const { diffId, dependent, archiveBytes, fileBytes, metadataSha256, chunks } = value;
  const blob = parsePart(value['blob'], `the blob of ${what}`, refuse);
  const metadata = parsePart(value['metadata'], `the metadata of ${what}`, refuse);
  if (!isDigest(diffId)) return refuse(`${what} has no diff id`);
  if (typeof dependent !== 'boolean' || (dependent && index > 0))
    return refuse(`${what} depends on the layers below`);
  if (typeof metadataSha256 !== 'string' || !hexPattern.test(metadataSha256))
    return refuse(`${what} has no digest of its metadata`);
  if (!isCount(archiveBytes, maxFileBytes) || !isCount(fileBytes, maxFileBytes))
    return refuse(`${what} has no length`);
  const behind = fileBytes - roundUp(headBytes + archiveBytes, pageBytes);
  if (behind < pageBytes || metadata.size !== headBytes + behind)
    return refuse(
      `the metadata of ${what} does not have the length of the head and the bytes after the archive`,
    );
  if (metadata.size > chunkLimits.metadataBytes)
    return refuse(`the metadata of ${what} has more than ${chunkLimits.metadataBytes} bytes`);
  if (!Array.isArray(chunks) || chunks.length === 0 || chunks.length > chunkLimits.chunks)
    return refuse(`${what} has no list of 1 to ${chunkLimits.chunks} chunks`);
  const parsed = chunks.map((chunk) => parseChunk(chunk, what, refuse));
  const sum = (of: (chunk: Chunk) => number): number => parsed.reduce((all, chunk) => all + of(chunk), 0);
  if (sum(({ bytes }) => bytes) !== archiveBytes) refuse(`the chunks of ${what} do not cover its archive`);
  if (sum(({ blobBytes }) => blobBytes) !== blob.size) refuse(`the chunks of ${what} do not cover its blob`);
  const first = parseFirst(value['first'], parsed.length);
  if (first === undefined) return refuse(`${what} names chunks to fetch first that it does not have`);
  return {
    ...{ blob, diffId, dependent, archiveBytes, fileBytes, metadataSha256, metadata, chunks: parsed },
    ...(first.length > 0 && { first }),
  };
}

function parseChunk(value: unknown, what: string, refuse: (why: string) => never): Chunk {
  if (!Array.isArray(value) || value.length !== 3) return refuse(`a chunk of ${what} is not a list of three`);
  const [bytes, blobBytes, sha256] = value as readonly unknown[];
  if (!isCount(bytes, chunkLimits.chunkBytes) || !isCount(blobBytes, chunkLimits.chunkBytes))
    return refuse(`a chunk of ${what} does not have 1 to ${chunkLimits.chunkBytes} bytes`);
  if (typeof sha256 !== 'string' || !hexPattern.test(sha256))
    return refuse(`a chunk of ${what} has no digest`);
  return { bytes, blobBytes, sha256 };
}

/** Returns the chunks to fetch first; undefined: the value is invalid. */
function parseFirst(value: unknown, count: number): readonly number[] | undefined {
  if (value === undefined) return [];
  if (!Array.isArray(value) || value.length > chunkLimits.first) return undefined;
  const isChunk = (each: unknown): each is number =>
    typeof each === 'number' && Number.isInteger(each) && each >= 0 && each < count;
  return value.every(isChunk) ? value : undefined;
}

function parsePart(
  value: unknown,
  what: string,
  refuse: (why: string) => never,
): { readonly digest: string; readonly size: number } {
  if (!isObject(value)) return refuse(`${what} has no valid digest and size`);
  const { digest, size } = value;
  if (!isDigest(digest) || !isCount(size, Number.MAX_SAFE_INTEGER))
    return refuse(`${what} has no valid digest and size`);
  return { digest, size };
}

const isDigest = (value: unknown): value is string => typeof value === 'string' && digestPattern.test(value);
const isCount = (value: unknown, most: number): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 1 && value <= most;

/** The content of the signed statement. */
export interface ChunkIndexPredicate {
  readonly images: readonly {
    readonly manifest: string;
    /** The manifest of the artifact with the index. */
    readonly artifact: { readonly digest: string; readonly size: number };
  }[];
}

/** Returns the artifact that a signed predicate names for a manifest; undefined: none, or it is malformed. */
export function artifactOf(
  predicate: unknown,
  manifest: string,
): { readonly digest: string; readonly size: number } | undefined {
  const images = isObject(predicate) ? predicate['images'] : undefined;
  if (!Array.isArray(images)) return undefined;
  for (const image of images as readonly unknown[]) {
    if (!isObject(image) || image['manifest'] !== manifest || !isObject(image['artifact'])) continue;
    const { digest, size } = image['artifact'];
    if (isDigest(digest) && isCount(size, 4 * 1024 * 1024)) return { digest, size };
  }
  return undefined;
}

/** Where a chunk is: in the file of the layer, and in its blob. */
export interface ChunkPlace extends Chunk {
  readonly at: number;
  readonly blobAt: number;
}

/** Finds chunks by their places. */
export interface ChunkTable {
  readonly count: number;
  place(chunk: number): ChunkPlace;
  /** Returns the chunks that a range of the file touches, from the first up to before `end`. */
  touching(offset: number, length: number): { readonly first: number; readonly end: number };
}

export function chunkTable(layer: Pick<LayerChunks, 'chunks'>): ChunkTable {
  const { chunks } = layer;
  const at = new Float64Array(chunks.length + 1);
  const blobAt = new Float64Array(chunks.length + 1);
  at[0] = headBytes;
  chunks.forEach(({ bytes, blobBytes }, index) => {
    at[index + 1] = (at[index] ?? 0) + bytes;
    blobAt[index + 1] = (blobAt[index] ?? 0) + blobBytes;
  });
  /** The number of chunks that end at or before a place. */
  const endingBy = (place: number): number => {
    let [low, high] = [0, chunks.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((at[middle + 1] ?? 0) <= place) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  return {
    count: chunks.length,
    place(index) {
      const chunk = chunks[index];
      if (chunk === undefined) throw new RangeError(`there is no chunk ${index}`);
      return { ...chunk, at: at[index] ?? 0, blobAt: blobAt[index] ?? 0 };
    },
    touching(offset, length) {
      const end = offset + length;
      const archiveEnd = at[chunks.length] ?? 0;
      if (length <= 0 || end <= headBytes || offset >= archiveEnd) return { first: 0, end: 0 };
      return {
        first: endingBy(Math.max(offset, headBytes)),
        end: endingBy(Math.min(end, archiveEnd) - 1) + 1,
      };
    },
  };
}

/**
 * Returns the sha256, in hex, of the list of chunks of a layer. Two indexes may agree in everything else and
 * have other chunks: a fill with one of them stores bytes that only its publisher has signed.
 */
export function chunksSha256({ chunks }: Pick<LayerChunks, 'chunks'>): string {
  const hash = createHash('sha256');
  for (const { bytes, blobBytes, sha256 } of chunks) hash.update(`${bytes} ${blobBytes} ${sha256}\n`);
  return hash.digest('hex');
}

export const sha256Hex = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

export function badChunkIndex(
  on: string,
  why: string,
  fix = 'make the index again with portcullis attest --type chunk-index',
): Error {
  return imageError({
    code: 'IMAGES_BAD_CHUNK_INDEX',
    kind: 'data-loss',
    attempted: 'read chunk index',
    on,
    why,
    fix,
  });
}
