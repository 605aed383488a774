import { reasonOf } from '../../../base/errors/index.ts';
import { isHttpError, sharedHttpClient } from '../../../base/http/index.ts';

export interface RevocationQuestion {
  readonly url: string;
  /** An OCSP request to post; absent: the document itself is fetched. */
  readonly body?: Uint8Array;
  readonly maximumBytes: number;
  readonly milliseconds: number;
}

/**
 * Asks an OCSP responder or fetches a revocation list. Plain HTTP only (trust-store-trust-policy.md, "CRLs"):
 * the answers are signed, and TLS would first require an answer about the server's own certificates.
 * Redirects are not followed.
 * @returns the bytes, or a sentence that states why there are none
 */
export async function askRevocation(
  question: RevocationQuestion,
  signal: AbortSignal,
): Promise<Uint8Array | string> {
  const { url, body, maximumBytes, milliseconds } = question;
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    return 'its address cannot be read';
  }
  if (parsed.protocol !== 'http:' || parsed.username !== '' || parsed.password !== '')
    return 'its address is not plain http://';
  const asked =
    body === undefined
      ? {}
      : { method: 'POST' as const, body, headers: { 'content-type': 'application/ocsp-request' } };
  try {
    const answer = await sharedHttpClient().send({ url: parsed, ...asked, totalMs: milliseconds, signal });
    if (answer.status === 200) return await answer.bytes(maximumBytes);
    await answer.discard();
    return `it answered with HTTP status ${answer.status}`;
  } catch (error) {
    if (isHttpError(error) && error.code === 'HTTP_TOO_LARGE')
      return `its answer is larger than ${maximumBytes} bytes`;
    if (isHttpError(error) && error.code === 'HTTP_TOO_SLOW')
      return `it did not answer within ${milliseconds} ms`;
    return `it could not be reached: ${reasonOf(error)}`;
  }
}
