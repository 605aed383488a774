/** Returns the pre-authentication encoding of DSSE, version 1 (DSSE protocol.md, "Signature Definition"). */
export function preAuthEncoding(payloadType: string, payload: Uint8Array): Buffer {
  return Buffer.concat([
    Buffer.from(`DSSEv1 ${Buffer.byteLength(payloadType)} ${payloadType} ${payload.byteLength} `),
    payload,
  ]);
}

/**
 * Returns base64 of an envelope in the standard alphabet. DSSE allows the alphabet for URLs, too
 * (envelope.md).
 */
export function standardBase64(value: unknown): unknown {
  return typeof value === 'string' ? value.replaceAll('-', '+').replaceAll('_', '/') : value;
}
