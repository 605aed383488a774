import { createHash, randomBytes } from 'node:crypto';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { sharedHttpClient } from '../../base/http/index.ts';
import { childrenOf, derTag, expectTag } from '../x509/der.ts';
import { readStrict } from '../x509/der-strict.ts';
import { readSmallInteger } from '../x509/der-values.ts';
import { algorithmWithNull, der, integer, octets, sequence, whole } from '../x509/der-writer.ts';

const sha256Oid = '2.16.840.1.101.3.4.2.1';
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
      attempted: 'have a signature stamped with the time',
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
      body: timestampRequest(signature),
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
    const [status, token] = childrenOf(expectTag(readStrict(bytes), derTag.sequence, 'the answer'));
    const code = readSmallInteger(
      childrenOf(expectTag(status, derTag.sequence, 'the status'))[0],
      'the status',
    );
    // granted, or granted with modifications (RFC 3161 section 2.4.2)
    if (code > 1) throw new Error(`it refuses with status ${code}`);
    return { response: bytes, token: Buffer.from(expectTag(token, derTag.sequence, 'the token').whole) };
  } catch (error) {
    throw fails(`its answer cannot be used: ${(error as Error).message}`, error);
  }
}

/** Returns a TimeStampReq (RFC 3161 section 2.4.1). */
function timestampRequest(signature: Uint8Array): Buffer {
  const imprint = sequence(
    algorithmWithNull(sha256Oid),
    octets(createHash('sha256').update(signature).digest()),
  );
  return sequence(whole(1), imprint, integer(randomBytes(8)), der(derTag.boolean, Buffer.from([0xff])));
}
