/** Limits of one gathering, whatever a hostile or crowded registry serves. */
export interface GatherLimits {
  /** Signature artifacts that are read from all sources together. */
  readonly items: number;
  /** Entries that are read of one listing of referrers, of any type. */
  readonly listing: number;
  /** Bytes of one bundle or payload. */
  readonly blobBytes: number;
  /**
   * Bytes of all bundles, payloads and manifests that are kept, and of the manifests of all referrers: the
   * main thread hashes and reads them.
   */
  readonly totalBytes: number;
  /** Bytes of an image manifest that is kept for a message signature. */
  readonly subjectBytes: number;
  /** Milliseconds for the whole gathering. */
  readonly milliseconds: number;
  /** Requests to registries in progress at the same time; also artifacts of one listing that are fetched. */
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
