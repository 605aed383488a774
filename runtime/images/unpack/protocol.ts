import type { SerialisedError } from '../../../base/errors/index.ts';
import type { UnpackRequest, UnpackedLayer } from './unpack-layer.ts';

/** A blob is linked, not renamed: others may be reading it under its first name, which goes with its last claim. */
export interface Move {
  readonly kind: 'rename' | 'link';
  readonly from: string;
  readonly to: string;
}

/** What makes staged content durable and gives it its place: syncfs, then the moves, then the folders' new names. */
export interface Publication {
  /** Any path on the store's file system. */
  readonly root: string;
  readonly moves: readonly Move[];
  /** Folders that the moves change. */
  readonly folders: readonly string[];
}

/** From the main thread to an unpack Worker. */
export type UnpackCommand =
  | { readonly kind: 'unpack'; readonly job: number; readonly request: UnpackRequest }
  | { readonly kind: 'lowers'; readonly job: number; readonly lowers: readonly string[] }
  | { readonly kind: 'cancel'; readonly job: number }
  | { readonly kind: 'publish'; readonly job: number; readonly publication: Publication }
  | { readonly kind: 'verify'; readonly job: number; readonly layer: string; readonly manifestSha256: string };

/** And back. */
export type UnpackAnswer =
  | { readonly kind: 'unpacked'; readonly job: number; readonly layer: UnpackedLayer }
  | { readonly kind: 'lowers?'; readonly job: number }
  | { readonly kind: 'published'; readonly job: number }
  | { readonly kind: 'verified'; readonly job: number; readonly bad: readonly string[] }
  | { readonly kind: 'failed'; readonly job: number; readonly error: SerialisedError };
