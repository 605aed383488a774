import { blobSources, placeOf } from './blob-sources.ts';
import type { BlobOrigin } from './blob-sources.ts';
import type { BlobClaim, BlobStore } from './blobs.ts';
import type { ImageLimits } from './limits/limits.ts';
import type { BlobDescriptor } from './manifest/json.ts';
import { orAborted } from '../../base/queues/index.ts';
import { forEachLimited } from './serial.ts';
import type { RegistryClientOptions } from '../../base/distribution/index.ts';
import type { LayerPool } from './layer-workers/layer-pool.ts';

/** Dependencies of the fetches of one pull. */
export interface BlobFetchesDeps {
  readonly blobs: Pick<BlobStore, 'claim'>;
  readonly pool: LayerPool;
  readonly limits: Pick<ImageLimits, 'parallelBlobs'>;
  /** The registry client's own options, for fetches in a Worker. */
  readonly registryOptions: RegistryClientOptions | undefined;
}

/** The blobs that one pull fetches into ingest, each once. */
export interface BlobFetches {
  /** The claims on blobs that are here. The pull releases them at its end. */
  readonly claims: Map<string, BlobClaim>;
  /**
   * Fetches these blobs in their order, except those that this pull has begun to fetch. Resolves when they
   * are here; the first failure is thrown when all fetches of this call have ended.
   */
  fetch(descriptors: readonly BlobDescriptor[], origin: BlobOrigin): Promise<void>;
  /** Resolves when the blob is here. Begins to fetch it unless this pull already does. */
  claim(descriptor: BlobDescriptor, origin: BlobOrigin): Promise<BlobClaim>;
}

/** @param signal of the pull: its abort ends every fetch and every wait */
export function createBlobFetches(
  { blobs, pool, limits, registryOptions }: BlobFetchesDeps,
  signal: AbortSignal,
): BlobFetches {
  const claims = new Map<string, BlobClaim>();
  const begun = new Map<string, PromiseWithResolvers<BlobClaim>>();

  async function fetch(descriptors: readonly BlobDescriptor[], origin: BlobOrigin): Promise<void> {
    const added: (readonly [BlobDescriptor, PromiseWithResolvers<BlobClaim>])[] = [];
    for (const descriptor of descriptors) {
      // A manifest may list one blob twice.
      if (begun.has(descriptor.digest)) continue;
      const settle = Promise.withResolvers<BlobClaim>();
      settle.promise.catch(() => undefined);
      begun.set(descriptor.digest, settle);
      added.push([descriptor, settle]);
    }
    await forEachLimited(added, limits.parallelBlobs, async ([descriptor, { resolve, reject }]) => {
      try {
        const claim = await blobs.claim(
          descriptor,
          { from: placeOf(origin), sources: blobSources(origin, descriptor, pool, registryOptions) },
          signal,
        );
        claims.set(descriptor.digest, claim);
        resolve(claim);
      } catch (thrown) {
        reject(thrown);
        throw thrown;
      }
    });
  }

  return {
    claims,
    fetch,
    async claim(descriptor, origin) {
      const existing = begun.get(descriptor.digest);
      // Not awaited after a failure: a fetch that was never begun does not end.
      if (existing !== undefined) return orAborted(existing.promise, signal);
      await fetch([descriptor], origin);
      const claim = claims.get(descriptor.digest);
      if (claim === undefined) throw new Error('the blob was not fetched');
      return claim;
    },
  };
}
