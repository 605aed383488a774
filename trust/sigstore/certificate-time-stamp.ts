import { createHash } from 'node:crypto';
import { verifyWith } from '../x509/signature-algorithm.ts';
import type { Certificate } from '../x509/certificate.ts';
import { childrenOf, derTag, DerError, expectTag } from '../x509/der.ts';
import type { DerElement } from '../x509/der.ts';
import { readStrict } from '../x509/der-strict.ts';
import { der } from '../x509/der-writer.ts';
import { isWithin } from './trusted-root.ts';
import type { TransparencyLog } from './trusted-root.ts';

/** Extension that holds a list of signed certificate timestamps (RFC 6962 section 3.3). */
const listOid = '1.3.6.1.4.1.11129.2.4.2';

/** Hash and signature by their TLS numbers (RFC 5246 section 7.4.1.4.1): only SHA-256 and stronger. */
const hashes: Readonly<Record<number, string>> = { 4: 'sha256', 5: 'sha384', 6: 'sha512' };

interface CertificateTimeStamp {
  readonly logId: string;
  readonly time: bigint;
  readonly extensions: Buffer;
  readonly hash: number;
  readonly signature: Buffer;
}

/**
 * Returns the trusted certificate logs that have recorded the certificate, by the timestamps in it, or the
 * fault.
 */
export function checkCertificateTimeStamps(
  certificate: Certificate,
  issuer: Certificate,
  logs: readonly TransparencyLog[],
): { readonly logs: readonly TransparencyLog[] } | { readonly problem: string } {
  const extension = certificate.extensions.get(listOid);
  if (extension === undefined) return { logs: [] };
  let stamps: readonly CertificateTimeStamp[];
  try {
    stamps = readList(
      expectTag(readStrict(extension.value), derTag.octetString, 'the list of certificate time stamps')
        .content,
    );
  } catch (error) {
    return { problem: (error as Error).message };
  }
  const issuerKeyHash = createHash('sha256').update(issuer.spki).digest();
  const precertificate = withoutExtension(certificate, extension.element.whole);
  const found = new Set<TransparencyLog>();
  let problem = 'no trusted certificate log has signed its time stamp';
  for (const stamp of stamps) {
    for (const log of logs.filter(({ id }) => id === stamp.logId)) {
      const hash = log.digest === null ? null : hashes[stamp.hash];
      if (!isWithin(Number(stamp.time), log.validFor))
        problem = `the certificate log ${log.name} was not trusted at that time`;
      else if (
        hash === undefined ||
        !verifyWith(hash, signedPart(stamp, issuerKeyHash, precertificate), log.key, stamp.signature)
      )
        problem = `the time stamp of the certificate log ${log.name} does not match the certificate`;
      else found.add(log);
    }
  }
  return found.size === 0 ? { problem } : { logs: [...found] };
}

/** Returns the structure that a log signs for a precertificate (RFC 6962 section 3.2). */
function signedPart(stamp: CertificateTimeStamp, issuerKeyHash: Buffer, precertificate: Buffer): Buffer {
  const head = Buffer.alloc(12);
  // version v1 (0), signature type certificate_timestamp (0), time, entry type precert_entry (1)
  head.writeBigUInt64BE(stamp.time, 2);
  head.writeUInt16BE(1, 10);
  const length = Buffer.alloc(3);
  length.writeUIntBE(precertificate.length, 0, 3);
  const extensionsLength = Buffer.alloc(2);
  extensionsLength.writeUInt16BE(stamp.extensions.length);
  return Buffer.concat([head, issuerKeyHash, length, precertificate, extensionsLength, stamp.extensions]);
}

/** Returns the signed part of the certificate as the log received it: without the list of timestamps. */
function withoutExtension(certificate: Certificate, extension: Buffer): Buffer {
  const fields = childrenOf(certificate.tbs).map((field) => {
    if (field.tag !== 0xa3) return field.whole;
    const kept = childrenOf(childrenOf(field)[0] as DerElement)
      .map(({ whole }) => whole)
      .filter((whole) => !whole.equals(extension));
    return der(0xa3, der(derTag.sequence, Buffer.concat(kept)));
  });
  return der(derTag.sequence, Buffer.concat(fields));
}

/** Reads a list in TLS encoding: a two-byte length, then timestamps that each have a two-byte length. */
function readList(bytes: Buffer): CertificateTimeStamp[] {
  if (bytes.length < 2 || bytes.readUInt16BE(0) !== bytes.length - 2)
    throw new DerError('the list of certificate time stamps is cut short', 0);
  const stamps: CertificateTimeStamp[] = [];
  for (let at = 2; at < bytes.length;) {
    const length = at + 2 <= bytes.length ? bytes.readUInt16BE(at) : 0;
    if (length === 0 || at + 2 + length > bytes.length)
      throw new DerError('a certificate time stamp is cut short', at);
    stamps.push(readStamp(bytes.subarray(at + 2, at + 2 + length), at));
    at += 2 + length;
  }
  return stamps;
}

function readStamp(bytes: Buffer, at: number): CertificateTimeStamp {
  const fail = (): DerError => new DerError('a certificate time stamp is malformed', at);
  // version (1), log id (32), time (8), length of extensions (2)
  if (bytes.length < 47 || bytes[0] !== 0) throw fail();
  const extensionsEnd = 43 + bytes.readUInt16BE(41);
  if (
    bytes.length < extensionsEnd + 4 ||
    bytes.readUInt16BE(extensionsEnd + 2) !== bytes.length - extensionsEnd - 4
  )
    throw fail();
  return {
    logId: bytes.subarray(1, 33).toString('base64'),
    time: bytes.readBigUInt64BE(33),
    extensions: bytes.subarray(43, extensionsEnd),
    hash: bytes[extensionsEnd] as number,
    signature: bytes.subarray(extensionsEnd + 4),
  };
}
