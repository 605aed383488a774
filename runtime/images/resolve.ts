import { isPortcullisError } from '../../base/errors/index.ts';
import type { FetchedManifest, RegistryRepository } from '../../base/distribution/index.ts';
import type { Platform } from '../../trust/index.ts';
import { imageError, wrapImageError } from './limits/failures.ts';
import type { ImageLimits } from './limits/limits.ts';
import { chooseManifest } from './manifest/image-index.ts';
import { parseManifest } from './manifest/image-manifest.ts';
import type { ImageManifest } from './manifest/image-manifest.ts';
import { malformed } from './manifest/json.ts';
import { indexTypes, manifestTypes } from './manifest/media-types.ts';
import type { ImageDocument } from './stored-image.ts';

/**
 * The content of a reference at the one moment when it was resolved; all later requests are by digest only.
 */
export interface ResolvedImage {
  /** Digest of the index, or of the manifest when there is none. */
  readonly digest: string;
  readonly manifestDigest: string;
  readonly manifest: ImageManifest;
  /** As served: the index and its nested indexes, if there are any, and the manifest. */
  readonly documents: readonly ImageDocument[];
  /** All places, in the order in which to ask them for content. */
  readonly places: readonly RegistryRepository[];
}

/** An index may list indexes (image-spec, image-index.md). Each level costs a request. */
const maxNestedIndexes = 4;

/**
 * Asks the mirrors, then the origin, each once. Throws the errors of the registry client,
 * IMAGES_NO_REPOSITORY, IMAGES_BAD_*, IMAGES_NO_PLATFORM.
 */
export async function resolveImage(
  places: readonly RegistryRepository[],
  wanted: string,
  on: string,
  platform: Platform,
  limits: ImageLimits,
  signal: AbortSignal,
): Promise<ResolvedImage> {
  const { value: top, place } = await firstAnswer(places, on, signal, (repository) =>
    repository.manifest(wanted, signal),
  );
  const ordered = inOrder(places, place);
  const documents = [documentOf(top)];
  let own = top;
  while (indexTypes.has(own.mediaType)) {
    if (documents.length > maxNestedIndexes)
      throw malformed('IMAGES_BAD_INDEX', own.digest, `it is an index in ${maxNestedIndexes} indexes`);
    const chosen = chooseManifest(own.bytes, own.digest, platform, limits);
    const answer = await firstAnswer(ordered, on, signal, (repository) =>
      repository.manifest(chosen, signal),
    );
    own = answer.value;
    documents.push(documentOf(own));
  }
  if (!manifestTypes.has(own.mediaType))
    throw malformed(
      'IMAGES_BAD_MANIFEST',
      own.digest,
      `its media type ${JSON.stringify(own.mediaType.slice(0, 128))} is not supported`,
    );
  return {
    digest: top.digest,
    manifestDigest: own.digest,
    manifest: parseManifest(own.bytes, own.digest, limits),
    documents,
    places: ordered,
  };
}

/**
 * Returns the places in the order in which they are asked for content: a mirror for content by digest keeps
 * its place before the one that resolved the tag.
 */
function inOrder(places: readonly RegistryRepository[], answered: RegistryRepository): RegistryRepository[] {
  const before = places.slice(0, places.indexOf(answered)).filter(({ answersTags }) => !answersTags);
  return [...new Set([...before, answered, ...places])];
}

function documentOf({ digest, mediaType, bytes }: FetchedManifest): ImageDocument {
  return { digest, mediaType, bytes };
}

/**
 * Returns the answer of the first place that answers. If none does, throws the most informative failure ("not
 * found" at a mirror is ordinary).
 */
export async function firstAnswer<T>(
  places: readonly RegistryRepository[],
  on: string,
  signal: AbortSignal,
  ask: (place: RegistryRepository) => Promise<T>,
): Promise<{ readonly value: T; readonly place: RegistryRepository }> {
  let failure: unknown;
  for (const place of places) {
    try {
      return { value: await ask(place), place };
    } catch (thrown) {
      signal.throwIfAborted();
      if (failure === undefined || (isPortcullisError(failure) && failure.kind === 'not-found'))
        failure = thrown;
    }
  }
  if (failure !== undefined) {
    throw wrapImageError(failure, {
      code: 'IMAGES_PULL_FAILED',
      kind: 'internal',
      attempted: 'pull image',
      on,
      fix: 'pull again',
    });
  }
  throw imageError({
    code: 'IMAGES_NO_REPOSITORY',
    kind: 'unavailable',
    attempted: 'pull image',
    on,
    why: 'its registry has no mirror and its origin must not be contacted',
    fix: 'configure a mirror, or allow the origin',
    prefix: 'RegistryUnavailable',
  });
}
