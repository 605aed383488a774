/** The content of an envelope in either form, before any check. */
export interface OpenedEnvelope {
  /** `ES256`, `PS384`, … */
  readonly algorithm: string;
  readonly contentType: unknown;
  /** Labels marked critical. */
  readonly critical: readonly unknown[];
  /**
   * Every protected header except algorithm, content type and the critical list. Times are in milliseconds
   * since 1970.
   */
  readonly attributes: ReadonlyMap<unknown, unknown>;
  readonly payload: Buffer;
  readonly signature: Buffer;
  /** The bytes that the signature covers. */
  readonly signed: Buffer;
  readonly chain: readonly Uint8Array[];
  readonly timestamp?: Buffer;
}
