import { createHash, randomBytes } from 'node:crypto';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { boundedBytes } from '../signing/bounded-bytes.ts';
import { childrenOf, derTags, expectTag, readDer, smallIntegerOf } from './der.ts';
import { der, derAlgorithm, derUnsigned } from './der-write.ts';

const sha256Oid = '2.16.840.1.101.3.4.2.1';
const milliseconds = 20_000;
const maximumBytes = 256 * 1024;

/**
 * Has a signature stamped by an RFC 3161 authority over HTTP (section 3.4), with its certificates in the token.
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
  const timeout = AbortSignal.timeout(milliseconds);
  let bytes: Buffer;
  try {
    const answer = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/timestamp-query' },
      body: new Uint8Array(timestampRequest(signature)),
      redirect: 'error',
      signal: signal === undefined ? timeout : AbortSignal.any([timeout, signal]),
    });
    if (answer.status !== 200 && answer.status !== 201) throw new Error(`it answered with HTTP status ${answer.status}`);
    bytes = await boundedBytes(answer, maximumBytes);
  } catch (error) {
    throw fails(reasonOf(error), error);
  }
  try {
    const [status, token] = childrenOf(readDer(bytes, derTags.sequence));
    const code = smallIntegerOf(childrenOf(expectTag(status, derTags.sequence))[0]);
    // granted, or granted with changes (RFC 3161 section 2.4.2)
    if (code > 1) throw new Error(`it refuses with status ${code}`);
    return { response: bytes, token: Buffer.from(expectTag(token, derTags.sequence).raw) };
  } catch (error) {
    throw fails(`its answer can not be used: ${(error as Error).message}`, error);
  }
}

/** TimeStampReq (RFC 3161 section 2.4.1). */
function timestampRequest(signature: Uint8Array): Buffer {
  const imprint = der(derTags.sequence, derAlgorithm(sha256Oid), der(derTags.octetString, createHash('sha256').update(signature).digest()));
  const nonce = randomBytes(8);
  // The shortest form of an INTEGER: a first byte of zero would have to go.
  nonce[0] = (nonce[0] ?? 0) | 0x40;
  return der(
    derTags.sequence,
    der(derTags.integer, Buffer.from([1])),
    imprint,
    derUnsigned(nonce),
    der(derTags.boolean, Buffer.from([0xff])),
  );
}
