import type { Credentials, Reference, RegistryClientOptions } from '../../../base/distribution/index.ts';
import type { SerialisedError } from '../../../base/errors/index.ts';
import type { BlobDescriptor } from '../manifest/json.ts';
import type { UnpackRequest, UnpackedLayer } from './unpack-layer.ts';
import type { JobCell } from './work-clock.ts';

/**
 * A blob is linked, not renamed: others may be reading it under its first name, which is removed with its
 * last claim.
 */
export interface Move {
  readonly kind: 'rename' | 'link';
  readonly from: string;
  readonly to: string;
}

/** Moves durable staged content to its place: the moves, then the folders' new names. */
export interface Publication {
  /** The store's root, for messages. */
  readonly root: string;
  readonly moves: readonly Move[];
  /** Folders that the moves change. */
  readonly folders: readonly string[];
}

/** A blob that is fetched in the Worker, so that its bytes never pass through the main thread. */
export interface BlobFetch {
  readonly registry: RegistryClientOptions;
  readonly reference: Pick<Reference, 'registry' | 'repository'>;
  readonly credentials: Credentials | undefined;
  /** Index among the client's repositories for the reference. */
  readonly place: number;
  readonly descriptor: Pick<BlobDescriptor, 'digest' | 'size'>;
  readonly path: string;
}

/** A task of a Worker of the pool. */
export type UnpackTask =
  | { readonly kind: 'unpack'; readonly request: UnpackRequest }
  | { readonly kind: 'fetch'; readonly fetch: BlobFetch }
  | { readonly kind: 'sync'; readonly fd: number; readonly root: string }
  | { readonly kind: 'publish'; readonly publication: Publication }
  | { readonly kind: 'verify'; readonly layer: string; readonly manifestSha256: string };

/** A task, and the memory that the job shares with the main thread. */
export type UnpackStart = UnpackTask & { readonly job: number; readonly cell: JobCell };

/** From the main thread to an unpack Worker. */
export type UnpackCommand =
  | UnpackStart
  | { readonly kind: 'lowers'; readonly job: number; readonly lowers: readonly string[] }
  | { readonly kind: 'cancel'; readonly job: number };

/** From an unpack Worker to the main thread. */
export type UnpackAnswer =
  | { readonly kind: 'unpacked'; readonly job: number; readonly layer: UnpackedLayer }
  | { readonly kind: 'fetched'; readonly job: number }
  | { readonly kind: 'lowers?'; readonly job: number; readonly entries: number }
  | { readonly kind: 'synced'; readonly job: number }
  | { readonly kind: 'published'; readonly job: number }
  | { readonly kind: 'verified'; readonly job: number; readonly bad: readonly string[] }
  | { readonly kind: 'failed'; readonly job: number; readonly error: SerialisedError };
