import type { RegistryClient, RegistryClientOptions } from '../../base/distribution/index.ts';
import type { NegativeCache } from '../../trust/evidence/index.ts';
import type { Dossier, Platform, TrustServices } from '../../trust/index.ts';
import { createBlobFetches } from './blob-fetches.ts';
import type { BlobFetches } from './blob-fetches.ts';
import type { BlobOrigin } from './blob-sources.ts';
import type { BlobStore } from './blobs.ts';
import type { LayerClaim } from './claimed-layers.ts';
import type { Decided, Decisions } from './decisions.ts';
import type { LayerChecks } from './layer-checks.ts';
import type { LayerStore } from './layers.ts';
import type { ChunkIndex } from './lazy/chunk-index.ts';
import type { LazyLayers } from './lazy-layers.ts';
import type { ImageLimits } from './limits/limits.ts';
import type { ParsedConfig } from './manifest/image-config.ts';
import type { ImageName } from './image-name.ts';
import type { ImageRecords } from './records.ts';
import type { PublishDeps } from './publish.ts';
import type { ResolvedImage } from './resolve.ts';
import type { SharedDocuments } from './shared-documents.ts';
import type { SharedFlight } from './shared-flight.ts';
import type { PullRequest } from './types.ts';
import type { LayerPool } from './layer-workers/layer-pool.ts';

export interface PullDeps extends PublishDeps {
  readonly limits: ImageLimits;
  readonly platform: Platform;
  readonly records: ImageRecords;
  readonly blobs: BlobStore;
  readonly layers: LayerStore;
  readonly checks: Pick<LayerChecks, 'isChecked' | 'ensure'>;
  readonly pool: LayerPool;
  readonly decisions: Decisions;
  readonly lazy: LazyLayers;
  readonly registryClient: Pick<RegistryClient, 'repositories'>;
  /** The registry client's own options, for fetches in a Worker. */
  readonly registryOptions: RegistryClientOptions | undefined;
  readonly now: () => Date;
  /** Concurrent pulls of one image gather its evidence once. */
  readonly gathering: SharedFlight<Dossier>;
  /** Concurrent pulls fetch a configuration and each piece of evidence once. */
  readonly documents: SharedDocuments;
  /** The negative cache of registries: a retry does not request the signatures of an unsigned image again. */
  readonly negativeCache: NegativeCache;
  /** The services that say what a tag means, where a rule requires it. */
  readonly services: TrustServices;
}

/**
 * The course of one pull. Its claims are released at its end, and content that no record owns is then
 * removed.
 */
export interface Course {
  readonly request: PullRequest;
  readonly signal: AbortSignal;
  readonly fetches: BlobFetches;
  readonly layers: LayerClaim[];
  /**
   * Ends everything that is in progress. Only the first failure is reported, because it causes the others.
   */
  fail(thrown: unknown): never;
  readonly failures: unknown[];
  /** Work that must have ended before the claims are released. */
  readonly underWay: Promise<unknown>[];
  /** Settles when the pull has ended: until then, others get the documents that it has fetched. */
  readonly ended: PromiseWithResolvers<void>;
}

export interface Admitted {
  readonly name: ImageName;
  readonly resolved: ResolvedImage;
  readonly origin: BlobOrigin;
  readonly dossier: Dossier;
  readonly decided: Decided;
  readonly configBytes: Uint8Array;
  readonly parsed: ParsedConfig;
  /** The signed index of an image whose containers start before its layers are complete. */
  readonly index: ChunkIndex | undefined;
}

/** Begins the course of a pull. */
export function beginCourse(deps: PullDeps, request: PullRequest): Course {
  const stop = new AbortController();
  const signal = request.signal === undefined ? stop.signal : AbortSignal.any([request.signal, stop.signal]);
  const failures: unknown[] = [];
  const fail = (thrown: unknown): never => {
    failures.push(thrown);
    stop.abort(thrown);
    throw thrown;
  };
  return {
    request,
    signal,
    fetches: createBlobFetches(deps, signal),
    layers: [],
    fail,
    failures,
    underWay: [],
    ended: Promise.withResolvers(),
  };
}

/** Ends everything that is in progress. Returns the first failure. */
export function endCourse(course: Course, thrown: unknown): unknown {
  try {
    return course.fail(thrown);
  } catch {
    return course.failures[0];
  }
}

/** Waits for everything that is in progress, then releases the claims. */
export async function releaseCourse(
  deps: PullDeps,
  { underWay, layers, fetches, ended }: Course,
): Promise<void> {
  ended.resolve();
  await Promise.allSettled(underWay);
  const releases = await Promise.allSettled(
    [...layers, ...fetches.claims.values()].map((claim) => claim.release()),
  );
  for (const result of releases) {
    if (result.status === 'rejected')
      deps.log.warn(
        { error: String(result.reason) },
        'content of a pull could not be removed; the next start removes it',
      );
  }
}
