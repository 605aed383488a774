import { createHash } from 'node:crypto';
import { childrenOf, derTag, DerError, expectTag } from './der.ts';
import type { DerElement } from './der.ts';
import { readStrict } from './der-strict.ts';
import { readSmallInteger } from './der-values.ts';
import { algorithmWithNull, derTrue, integer, octets, sequence, whole } from './der-writer.ts';

const sha256 = '2.16.840.1.101.3.4.2.1';

/**
 * Writes a TimeStampReq (RFC 3161 section 2.4.1) for the SHA-256 of a message. It asks for the certificates
 * of the authority.
 */
export function writeTimeStampRequest(message: Uint8Array, nonce: Uint8Array): Buffer {
  const imprint = sequence(algorithmWithNull(sha256), octets(createHash('sha256').update(message).digest()));
  return sequence(whole(1), imprint, integer(nonce), derTrue);
}

/**
 * Returns the token (ContentInfo) of a TimeStampResp (RFC 3161 section 2.4.2).
 * @throws DerError, with the status when the authority refused
 */
export function readTimeStampResponse(bytes: Uint8Array): Buffer {
  return Buffer.from(tokenOfResponse(readStrict(bytes)).whole);
}

/** Returns the token of a response that was read strictly. @throws DerError */
export function tokenOfResponse(response: DerElement): DerElement {
  const parts = childrenOf(expectTag(response, derTag.sequence, 'the response'), 3);
  const [status, token] = parts;
  const granted = status === undefined ? 0 : readStatus(status);
  // Only "granted" is accepted, not "granted with modifications", because the modifications are unknown.
  if (granted !== 0)
    throw new DerError(`the authority refused, with status ${granted},`, status?.offset ?? 0);
  if (parts.length !== 2)
    throw new DerError(`the response has ${parts.length} members, not 2`, response.offset);
  return expectTag(token, derTag.sequence, 'the token');
}

function readStatus(status: DerElement): number {
  const [number] = childrenOf(expectTag(status, derTag.sequence, 'the status'));
  return readSmallInteger(number, 'the status');
}
