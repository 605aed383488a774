import { randomBytes } from 'node:crypto';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { sharedHttpClient } from '../../base/http/index.ts';
import { readTimeStampResponse, writeTimeStampRequest } from '../x509/time-stamp-request.ts';
const milliseconds = 20_000;
const maximumBytes = 256 * 1024;

/**
 * Requests a timestamp for a signature from an RFC 3161 authority over HTTP (section 3.4), with the
 * authority's certificates in the token.
 * @returns the answer (TimeStampResp) and the token in it (ContentInfo), both DER
 * @throws PortcullisError `TRUST_TIMESTAMP_FAILED`
 */
export async function requestTimestamp(
  url: string,
  signature: Uint8Array,
  signal?: AbortSignal,
): Promise<{ readonly response: Buffer; readonly token: Buffer }> {
  const fails = (why: string, cause?: unknown): PortcullisError =>
    new PortcullisError({
      code: 'TRUST_TIMESTAMP_FAILED',
      kind: 'unavailable',
      attempted: 'request a time stamp for a signature',
      on: url,
      why,
      fix: 'check the address of the time stamp authority, and sign again',
      cause,
    });
  let bytes: Buffer;
  try {
    const answer = await sharedHttpClient().send({
      url: new URL(url),
      method: 'POST',
      headers: { 'content-type': 'application/timestamp-query' },
      body: writeTimeStampRequest(signature, randomBytes(8)),
      totalMs: milliseconds,
      signal,
    });
    if (answer.status !== 200 && answer.status !== 201) {
      await answer.discard();
      throw new Error(`it answered with HTTP status ${answer.status}`);
    }
    bytes = await answer.bytes(maximumBytes);
  } catch (error) {
    throw fails(reasonOf(error), error);
  }
  try {
    return { response: bytes, token: readTimeStampResponse(bytes) };
  } catch (error) {
    throw fails(`its answer cannot be used: ${(error as Error).message}`, error);
  }
}
