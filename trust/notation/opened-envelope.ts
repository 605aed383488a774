/** What both forms of envelope say, before anything is checked. */
export interface OpenedEnvelope {
  /** `ES256`, `PS384`, … */
  readonly algorithm: string;
  readonly contentType: unknown;
  /** Labels marked critical. */
  readonly critical: readonly unknown[];
  /** Every protected header but algorithm, content type and the critical list. Times are in milliseconds since 1970. */
  readonly attributes: ReadonlyMap<unknown, unknown>;
  readonly payload: Buffer;
  readonly signature: Buffer;
  /** What the signature is over. */
  readonly signed: Buffer;
  readonly chain: readonly Uint8Array[];
  readonly timestamp?: Buffer;
}
