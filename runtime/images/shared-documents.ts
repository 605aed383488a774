import { createHash } from 'node:crypto';
import type { Credentials, FetchedManifest, RegistryRepository } from '../../base/distribution/index.ts';
import { canonicalJson } from '../../trust/evidence/index.ts';
import { createSharedFlight } from './shared-flight.ts';
import type { SharedFlight } from './shared-flight.ts';

/** A larger document is shared only while it is fetched: it does not stay in memory for later pulls. */
const keptBytes = 256 * 1024;
/** All kept documents together: the evidence of hostile images must not fill the memory of the daemon. */
const keptTogether = 8 * 1024 * 1024;

/** The pull for which documents are fetched. */
export interface Reader {
  /** The registry of the reference. */
  readonly registry: string;
  readonly credentials: Credentials | undefined;
  /** Settles when the pull has ended: until then, other pulls get the documents that it has fetched. */
  readonly ended: Promise<unknown>;
}

/**
 * The documents that pulls at the same time fetch by digest, each once: configurations, signatures,
 * attestations, and the manifests of these. A pull gets a document of another pull only if both name the same
 * registry with the same credentials, so that it gets nothing that its own credentials cannot read. Requests
 * by tag, for a list of referrers, and for the manifest that a reference names are never shared: with each of
 * them the registry decides whether the credentials suffice, and which evidence there is now.
 */
export interface SharedDocuments {
  /** Returns the same places, in the same order, for the requests of one pull. */
  places(places: readonly RegistryRepository[], reader: Reader): readonly RegistryRepository[];
}

/** @see SharedDocuments */
export function createSharedDocuments(): SharedDocuments {
  const blobs = createSharedFlight<Uint8Array>();
  const manifests = createSharedFlight<FetchedManifest>();
  let kept = 0;
  /** Returns until when the document is kept, or undefined if it is not. */
  const keep = (size: number, { ended }: Reader): Promise<unknown> | undefined => {
    if (size > keptBytes || kept + size > keptTogether) return undefined;
    kept += size;
    return ended.finally(() => (kept -= size));
  };
  return {
    places: (places, reader) =>
      places.map((place) => ({
        ...place,
        // A descriptor of too many bytes is refused before anything is shared.
        blobBytes: async (descriptor, limit, signal) =>
          descriptor.size > limit
            ? place.blobBytes(descriptor, limit, signal)
            : fetchOnce(
                blobs,
                keyOf(place, reader, descriptor),
                keep(descriptor.size, reader),
                signal,
                (shared) => place.blobBytes(descriptor, limit, shared),
              ),
        manifest: async (wanted, signal) =>
          typeof wanted === 'string'
            ? place.manifest(wanted, signal)
            : fetchOnce(
                manifests,
                keyOf(place, reader, wanted),
                keep(wanted.size, reader),
                signal,
                (shared) => place.manifest(wanted, shared),
              ),
      })),
  };
}

/** Everything on which an answer may depend, and what the caller expects of it. */
function keyOf(
  { host }: RegistryRepository,
  { registry, credentials }: Reader,
  {
    digest,
    size,
    mediaType,
  }: { readonly digest: string; readonly size: number; readonly mediaType?: string },
): string {
  return createHash('sha256')
    .update(canonicalJson([registry, host, credentials, digest, size, mediaType]))
    .digest('hex');
}

/** Joins the fetch of another pull. If that fails, the caller asks its own repository. */
async function fetchOnce<T>(
  flights: SharedFlight<T>,
  key: string,
  kept: Promise<unknown> | undefined,
  signal: AbortSignal | undefined,
  fetch: (signal: AbortSignal | undefined) => Promise<T>,
): Promise<T> {
  const own: Promise<T>[] = [];
  const begin = (shared: AbortSignal): Promise<T> => {
    const fetching = fetch(shared);
    own.push(fetching);
    return fetching;
  };
  try {
    return await flights.join(key, signal ?? never, begin, kept);
  } catch (thrown) {
    if (own.length > 0 || signal?.aborted === true) throw thrown;
    return fetch(signal);
  }
}

const never = new AbortController().signal;
