import { reasonOf } from '../../base/errors/index.ts';
import type { RegistryRepository } from '../../base/distribution/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { chunkIndexPredicateType, signedStatements } from '../../trust/evidence/index.ts';
import type { TrustPolicy } from '../../trust/index.ts';
import {
  artifactOf,
  badChunkIndex,
  chunkIndexTypes,
  chunkLimits,
  parseChunkIndex,
} from './lazy/chunk-index.ts';
import type { ChunkIndex } from './lazy/chunk-index.ts';
import type { ImageLimits } from './limits/limits.ts';
import { firstAnswer } from './resolve.ts';
import type { ResolvedImage } from './resolve.ts';

const manifestType = 'application/vnd.oci.image.manifest.v1+json';

/** The image whose index is requested, and the inputs of the decision. */
export interface SignedIndexInput {
  /** Normalised. */
  readonly reference: string;
  readonly namespace: string;
  readonly policy: TrustPolicy;
  readonly resolved: ResolvedImage;
  /** A layer that exceeds them is not started lazily. */
  readonly limits: Pick<ImageLimits, 'maxLayerBytes' | 'maxRatio' | 'ratioFloorBytes'>;
  readonly now: Date;
  readonly signal: AbortSignal;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/**
 * Finds the chunk index that an authority of the policy has signed for an image. An image without one, or
 * with one that cannot be used, is pulled in the usual way: the reason is logged.
 * @returns undefined when there is none; otherwise a function that returns the index if it fits the diff ids
 * of the image's configuration
 */
async function findSignedIndex(
  input: SignedIndexInput,
): Promise<((diffIds: readonly string[]) => ChunkIndex | undefined) | undefined> {
  const { reference, resolved, log, signal } = input;
  try {
    const index = await readSignedIndex(input);
    if (index === undefined) return undefined;
    return (diffIds) => {
      const why = misfit(index, resolved, diffIds) ?? excess(index, input.limits);
      if (why === undefined) return index;
      log.warn({ image: reference, why }, 'the chunk index of an image is not used: it is pulled as a whole');
      return undefined;
    };
  } catch (thrown) {
    signal.throwIfAborted();
    log.warn(
      { image: reference, why: reasonOf(thrown) },
      'the chunk index of an image is not used: it is pulled as a whole',
    );
    return undefined;
  }
}

/**
 * Finds the index of an image whose layers can be filled later; undefined: they are fetched immediately.
 * Searches for it while the decision about the image is made.
 * @param admittedDiffIds resolves after an admitting verdict, with the diff ids of the configuration
 * @throws the errors of `admittedDiffIds`, and the reason of the signal
 */
export async function signedIndex(
  input: SignedIndexInput,
  admittedDiffIds: () => Promise<readonly string[]>,
): Promise<ChunkIndex | undefined> {
  const found = findSignedIndex(input);
  found.catch(() => undefined);
  const diffIds = await admittedDiffIds();
  return (await found)?.(diffIds);
}

async function readSignedIndex({
  reference,
  namespace,
  policy,
  resolved,
  now,
  signal,
}: SignedIndexInput): Promise<ChunkIndex | undefined> {
  const { digest, manifestDigest, places } = resolved;
  const statements = await signedStatements({
    ...{ reference, namespace, digest, manifestDigest, repositories: places, policy, now, signal },
    predicateType: chunkIndexPredicateType,
    maxSize: 2 * chunkLimits.predicateBytes,
  });
  const artifact = statements.map((one) => artifactOf(one, manifestDigest)).find((one) => one !== undefined);
  if (artifact === undefined) return undefined;
  const { value } = await firstAnswer(places, artifact.digest, signal, (place) =>
    readIndex(place, artifact, signal),
  );
  return value;
}

/** Every step uses the digest from the previous step; the first digest is signed. */
async function readIndex(
  place: RegistryRepository,
  artifact: { readonly digest: string; readonly size: number },
  signal: AbortSignal,
): Promise<ChunkIndex> {
  const { content } = await place.manifest({ ...artifact, mediaType: manifestType }, signal);
  const layer =
    content.kind === 'manifest' && content.artifactType === chunkIndexTypes.artifact
      ? content.layers.find(({ mediaType }) => mediaType === chunkIndexTypes.index)
      : undefined;
  if (layer === undefined) throw badChunkIndex(artifact.digest, 'the artifact has no index');
  return parseChunkIndex(await place.blobBytes(layer, chunkLimits.indexBytes, signal), artifact.digest);
}

/**
 * Returns why a layer is not filled later: it exceeds the limits of a complete pull, which then reports this.
 * The file of a layer has the length of its archive before any byte of it is fetched.
 */
function excess(
  { layers }: ChunkIndex,
  { maxLayerBytes, maxRatio, ratioFloorBytes }: SignedIndexInput['limits'],
): string | undefined {
  const large = layers.findIndex(
    ({ archiveBytes, blob }) =>
      archiveBytes > Math.min(maxLayerBytes, ratioFloorBytes + maxRatio * blob.size),
  );
  return large === -1 ? undefined : `its layer ${large} exceeds the size limits of a layer`;
}

/** Returns why an index does not belong to the image; undefined: it does. */
function misfit(
  index: ChunkIndex,
  { manifest, manifestDigest }: Pick<ResolvedImage, 'manifest' | 'manifestDigest'>,
  diffIds: readonly string[],
): string | undefined {
  if (index.manifest !== manifestDigest) return 'it belongs to another manifest';
  if (index.layers.length !== manifest.layers.length) return 'it has a different number of layers';
  const other = index.layers.findIndex(({ blob, diffId }, at) => {
    const layer = manifest.layers[at];
    return blob.digest !== layer?.digest || blob.size !== layer.size || diffId !== diffIds[at];
  });
  return other === -1 ? undefined : `its layer ${other} is not the layer of the image`;
}
