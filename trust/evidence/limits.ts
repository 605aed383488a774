/** Bounds of one gathering. A hostile or crowded registry costs at most these. */
export interface GatherLimits {
  /** Signature artifacts read, over all sources. */
  readonly items: number;
  /** Entries read of one listing of referrers, of any kind. */
  readonly listing: number;
  /** Bytes of one bundle or payload. */
  readonly blobBytes: number;
  /** Bytes of all bundles, payloads and manifests kept: `decide` hashes and reads them on the main thread. */
  readonly totalBytes: number;
  /** Bytes of an image manifest kept for a message signature. */
  readonly subjectBytes: number;
  /** Milliseconds for everything. */
  readonly milliseconds: number;
  /** Artifacts fetched at one moment from one listing. */
  readonly parallel: number;
}

export const defaultLimits: GatherLimits = {
  items: 64,
  listing: 1000,
  blobBytes: 1024 * 1024,
  totalBytes: 2 * 1024 * 1024,
  subjectBytes: 1024 * 1024,
  milliseconds: 20_000,
  parallel: 8,
};
