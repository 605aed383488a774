import type { SerialisedError } from '../../../base/errors/index.ts';
import type { UnpackRequest, UnpackedLayer } from './unpack-layer.ts';

/** From the main thread to an unpack Worker. */
export type UnpackCommand =
  | { readonly kind: 'unpack'; readonly job: number; readonly request: UnpackRequest }
  | { readonly kind: 'lowers'; readonly job: number; readonly lowers: readonly string[] }
  | { readonly kind: 'cancel'; readonly job: number }
  | { readonly kind: 'verify'; readonly job: number; readonly layer: string; readonly manifestSha256: string };

/** And back. */
export type UnpackAnswer =
  | { readonly kind: 'unpacked'; readonly job: number; readonly layer: UnpackedLayer }
  | { readonly kind: 'lowers?'; readonly job: number }
  | { readonly kind: 'verified'; readonly job: number; readonly bad: readonly string[] }
  | { readonly kind: 'failed'; readonly job: number; readonly error: SerialisedError };
