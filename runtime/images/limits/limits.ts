/** Bounds on everything that comes from a registry or an archive. Sizes in bytes. */
export interface ImageLimits {
  readonly maxConfigBytes: number;
  readonly maxLayers: number;
  readonly maxIndexEntries: number;
  /** One compressed layer. */
  readonly maxBlobBytes: number;
  /** All compressed layers of an image. */
  readonly maxImageBytes: number;
  /** One layer, unpacked. */
  readonly maxLayerBytes: number;
  /**
   * A layer may unpack to this many bytes whatever its compressed size is, plus `maxRatio` times that size.
   */
  readonly ratioFloorBytes: number;
  readonly maxRatio: number;
  /** Entries of one layer, including the folders that are created because an entry below them needs them. */
  readonly maxEntries: number;
  /**
   * The total length of the paths of a layer's entries, folders and hard link targets: the cost of system
   * calls and of the file manifest grows with it.
   */
  readonly maxPathBytes: number;
  /**
   * Data that stays in memory until the end of a layer, apart from its tree: link targets, folders' paths,
   * folders' extended attributes.
   */
  readonly maxKeptBytes: number;
  /** Hard links of one layer to files that only the layers below can contain. */
  readonly maxPendingLinks: number;
  readonly parallelBlobs: number;
}

const mebibyte = 1024 * 1024;
const gibibyte = 1024 * mebibyte;

export const defaultLimits: ImageLimits = {
  maxConfigBytes: 4 * mebibyte,
  // The kernel accepts at most 500 lower folders in one overlay.
  maxLayers: 500,
  maxIndexEntries: 1024,
  maxBlobBytes: 32 * gibibyte,
  maxImageBytes: 64 * gibibyte,
  maxLayerBytes: 64 * gibibyte,
  // gzip can reach 1,032:1 and zstd far more; real layers stay below 20:1 except for files of zeros.
  ratioFloorBytes: gibibyte,
  maxRatio: 200,
  maxEntries: 1_000_000,
  maxPathBytes: 256 * mebibyte,
  maxKeptBytes: 64 * mebibyte,
  // Builders write both names of such a link into the layer; no other archives with more than a few such
  // links are known.
  maxPendingLinks: 100_000,
  parallelBlobs: 6,
};
