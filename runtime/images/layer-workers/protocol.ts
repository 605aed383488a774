import type { Credentials, Reference, RegistryClientOptions } from '../../../base/distribution/index.ts';
import type { SerialisedError } from '../../../base/errors/index.ts';
import type { BlobDescriptor } from '../manifest/json.ts';
import type { UnpackedLayer, UnpackRequest } from '../unpack/unpack-layer.ts';
import type { JobCell } from '../unpack/work-clock.ts';

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

/** The form of a layer on disk: a folder with its files, or one EROFS file. */
export type LayerForm = 'folder' | 'erofs';

/** The record that the store keeps of a layer on disk, and compares with it. */
export interface LayerRecord {
  readonly form: LayerForm;
  readonly diffId: string;
  /** sha256, in hex: of the list of files of a folder; of everything but the archive of an EROFS file. */
  readonly manifestSha256: string;
  /** The length of an EROFS file; of a folder, the sum of its files. */
  readonly bytes: number;
  /** The digest, in hex, by which fs-verity knows an EROFS file; undefined: it has no fs-verity. */
  readonly verity?: string;
  /** The file has holes that are filled when they are read: it is mounted only while it is guarded. */
  readonly lazy?: true;
}

/** A task of a Worker of the pool. */
export type LayerTask =
  | { readonly kind: 'unpack'; readonly request: UnpackRequest; readonly form: LayerForm }
  | { readonly kind: 'fetch'; readonly fetch: BlobFetch }
  | { readonly kind: 'sync'; readonly fd: number; readonly root: string }
  | { readonly kind: 'publish'; readonly publication: Publication }
  | { readonly kind: 'verify'; readonly layer: string; readonly record: LayerRecord }
  | { readonly kind: 'check'; readonly fd: number; readonly path: string; readonly record: LayerRecord };

/** A task, and the memory that the job shares with the main thread. */
export type LayerStart = LayerTask & { readonly job: number; readonly cell: JobCell };

/** From the main thread to a Worker of the pool. */
export type LayerCommand =
  | LayerStart
  | { readonly kind: 'lowers'; readonly job: number; readonly lowers: readonly string[] }
  | { readonly kind: 'cancel'; readonly job: number };

/** From a Worker of the pool to the main thread. */
export type LayerAnswer =
  | { readonly kind: 'unpacked'; readonly job: number; readonly layer: UnpackedLayer }
  | { readonly kind: 'fetched'; readonly job: number }
  | { readonly kind: 'lowers?'; readonly job: number; readonly entries: number }
  | { readonly kind: 'synced'; readonly job: number }
  | { readonly kind: 'published'; readonly job: number }
  | { readonly kind: 'verified'; readonly job: number; readonly bad: readonly string[] }
  | { readonly kind: 'checked'; readonly job: number }
  | { readonly kind: 'failed'; readonly job: number; readonly error: SerialisedError };
