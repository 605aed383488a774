import type { Dossier } from '../../trust/index.ts';
import type { LayerRecord } from './layer-workers/protocol.ts';
import type { ImageConfig, ImageRecord } from './types.ts';

/** A layer on disk. */
export interface LayerRow extends LayerRecord {
  /**
   * Folder below `layers`: the hex digits of the diff id, or of the chain id when the content depends on the
   * layers below.
   */
  readonly folder: string;
  /** The content depends on the layers below: it is valid only for this chain id. */
  readonly dependent: boolean;
  readonly blobDigest: string;
  readonly blobSize: number;
  readonly inodes: number;
  /**
   * The digest, in hex, of the chunks with which the holes of the file are filled. Undefined for a layer
   * without holes, and if an earlier release recorded the layer: then the chunks are unknown.
   */
  readonly chunksSha256?: string;
}

/** A name of an image, with the evidence that was found under it. */
export interface NameRow {
  readonly name: string;
  /** False for a `repo@digest` that results only from a pull by tag. */
  readonly asked: boolean;
  readonly digest: string;
  readonly manifestDigest: string;
  readonly dossier: Dossier;
  readonly verdictId: string;
  readonly unverified: boolean;
  /** Grows with every pull. */
  readonly seq: number;
}

export interface StoredImage {
  readonly id: string;
  readonly manifestDigest: string;
  readonly digest: string;
  readonly size: number;
  readonly config: ImageConfig;
  readonly layers: readonly { readonly diffId: string; readonly folder: string }[];
  readonly seq: number;
  readonly names: readonly NameRow[];
  readonly record: ImageRecord;
}

/** A name whose evidence was renewed. */
export type RenewedName = Pick<NameRow, 'name' | 'dossier' | 'verdictId' | 'unverified'>;

/** A document of an image, exactly as served: index, manifest, configuration. */
export interface ImageDocument {
  readonly digest: string;
  readonly mediaType: string;
  readonly bytes: Uint8Array;
}

export interface Admission {
  readonly image: Pick<StoredImage, 'id' | 'manifestDigest' | 'digest' | 'size' | 'config' | 'layers'>;
  readonly names: readonly Omit<NameRow, 'seq'>[];
  readonly layers: readonly LayerRow[];
  readonly documents: readonly ImageDocument[];
}
