import type {
  Credentials,
  Reference,
  RegistryClientOptions,
  RegistryRepository,
} from '../../base/distribution/index.ts';
import type { BlobSource } from './blobs.ts';
import { download } from './layer-workers/download.ts';
import type { BlobDescriptor } from './manifest/json.ts';
import type { LayerPool } from './layer-workers/layer-pool.ts';

/**
 * A blob below this size is fetched on the main thread: a Worker with its own client costs more than it
 * saves.
 */
const workerBytes = 4 * 1024 * 1024;

export interface BlobOrigin {
  readonly reference: Pick<Reference, 'registry' | 'repository'>;
  readonly credentials: Credentials | undefined;
  /** As the registry client orders them. */
  readonly places: readonly RegistryRepository[];
  /** In the order in which to ask them. */
  readonly ordered: readonly RegistryRepository[];
}

/** Returns the place of the sources: the registry of the reference, and the host that is asked first. */
export function placeOf({ reference, places }: BlobOrigin): string {
  return `${reference.registry} ${places[0]?.host ?? ''}`;
}

/**
 * Returns the sources of one blob of an image. With `registry`, large blobs pass through a Worker and never
 * through the main thread.
 */
export function blobSources(
  origin: BlobOrigin,
  descriptor: BlobDescriptor,
  pool: LayerPool,
  registry: RegistryClientOptions | undefined,
): BlobSource[] {
  const { reference, credentials, places, ordered } = origin;
  const { digest, size } = descriptor;
  return ordered.map((repository): BlobSource => {
    if (registry === undefined || size < workerBytes) {
      return (path, signal) => download(repository, { digest, size }, path, signal);
    }
    const place = places.indexOf(repository);
    return (path, signal) =>
      pool.fetch({ registry, reference, credentials, place, descriptor: { digest, size }, path }, signal);
  });
}
