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
  /** A layer may unpack to this many bytes whatever its compressed size, and then to `maxRatio` times that size. */
  readonly ratioFloorBytes: number;
  readonly maxRatio: number;
  readonly maxEntries: number;
  readonly parallelBlobs: number;
}

const mebibyte = 1024 * 1024;
const gibibyte = 1024 * mebibyte;

export const defaultLimits: ImageLimits = {
  maxConfigBytes: 4 * mebibyte,
  // The kernel takes at most 500 lower folders in one overlay.
  maxLayers: 500,
  maxIndexEntries: 1024,
  maxBlobBytes: 32 * gibibyte,
  maxImageBytes: 64 * gibibyte,
  maxLayerBytes: 64 * gibibyte,
  // gzip can reach 1,032:1 and zstd far more; real layers stay below 20:1 apart from files of zeros.
  ratioFloorBytes: gibibyte,
  maxRatio: 200,
  maxEntries: 1_000_000,
  parallelBlobs: 6,
};
