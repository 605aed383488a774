import { decodeBase64 } from '../../json/strict-json.ts';
import type { EvidenceItem } from '../../findings/types.ts';
import { describeCertificate } from '../../x509/certificate.ts';
import type { Certificate } from '../../x509/certificate.ts';
import { judgeCrl } from './crl.ts';
import { judgeOcsp } from './ocsp.ts';
import { unknown } from './status.ts';
import type { JudgedCertificate, RevocationStatus } from './status.ts';

/**
 * Annotations of revocation items: the URL of the answer, and the certificate's thumbprint for an OCSP
 * answer.
 */
export const urlAnnotation = 'dev.portcullis.revocation.url';
export const certificateAnnotation = 'dev.portcullis.revocation.certificate';

export type RevocationItem = Pick<EvidenceItem, 'kind' | 'annotations' | 'bytes' | 'problem'>;

/**
 * Returns the revocation status of a chain from the collected items: the worst of its certificates. The root
 * cannot be revoked.
 */
export function judgeChain(
  chain: readonly Certificate[],
  items: readonly RevocationItem[],
  now: number,
  signingTime?: number,
): RevocationStatus {
  let worst: RevocationStatus | undefined;
  let until = Number.POSITIVE_INFINITY;
  for (const [index, certificate] of chain.slice(0, -1).entries()) {
    const issuer = chain[index + 1] as Certificate;
    const status = judgeCertificate(certificate, issuer, items, now, signingTime);
    if (status === undefined) continue;
    const says = `${describeCertificate(certificate)}: ${status.says}`;
    if (status.status === 'revoked') return { status: 'revoked', says };
    if (status.status === 'unknown') worst = { status: 'unknown', says };
    else {
      until = Math.min(until, status.until ?? until);
      worst ??= { status: 'good', says };
    }
  }
  if (worst === undefined)
    return { status: 'good', says: 'none of its certificates names a source of revocation information' };
  return worst.status === 'good' ? { ...worst, ...(Number.isFinite(until) ? { until } : {}) } : worst;
}

/**
 * Returns the status of one certificate (trust-store-trust-policy.md, "Certificate Revocation Evaluation"):
 * by OCSP if the certificate names a responder; by revocation lists if it names none, or OCSP gives no
 * answer. Returns undefined when it names neither, and therefore cannot be revoked.
 */
function judgeCertificate(
  certificate: Certificate,
  issuer: Certificate,
  items: readonly RevocationItem[],
  now: number,
  signingTime: number | undefined,
): RevocationStatus | undefined {
  const byOcsp = ocspStatus(certificate, issuer, items, now, signingTime);
  if (byOcsp !== undefined && (byOcsp.status !== 'unknown' || certificate.crlUrls.length === 0))
    return byOcsp;
  let status: RevocationStatus | undefined;
  // Every list is evaluated: lists may be partial (RFC 5280 section 4.2.1.13).
  for (const url of certificate.crlUrls) {
    const answer = crlStatus(url, items, { certificate, issuer, now, signingTime });
    if (answer.status === 'revoked') return answer;
    status =
      status === undefined ||
      answer.status === 'unknown' ||
      (status.status === 'good' && (answer.until ?? 0) < (status.until ?? 0))
        ? answer
        : status;
    if (status.status === 'unknown') break;
  }
  return status ?? byOcsp;
}

export function ocspStatus(
  certificate: Certificate,
  issuer: Certificate,
  items: readonly RevocationItem[],
  now: number,
  signingTime?: number,
): RevocationStatus | undefined {
  let status: RevocationStatus | undefined;
  for (const url of certificate.ocspUrls) {
    const item = items.find(
      ({ kind, annotations }) =>
        kind === 'ocsp-response' &&
        annotations[urlAnnotation] === url &&
        annotations[certificateAnnotation] === certificate.thumbprint,
    );
    const bytes = bytesOf(item);
    const answer =
      bytes instanceof Uint8Array
        ? judgeOcsp(bytes, { certificate, issuer, now, signingTime })
        : unknown(`${url}: ${bytes}`);
    if (answer.status !== 'unknown') return answer;
    status ??= answer;
  }
  return status;
}

function crlStatus(
  url: string,
  items: readonly RevocationItem[],
  judged: JudgedCertificate,
): RevocationStatus {
  const at = (wanted: string): Uint8Array | string =>
    bytesOf(items.find(({ kind, annotations }) => kind === 'crl' && annotations[urlAnnotation] === wanted));
  const bytes = at(url);
  if (typeof bytes === 'string') return unknown(`${url}: ${bytes}`);
  const delta = (wanted: string): Uint8Array | undefined => {
    const found = at(wanted);
    return typeof found === 'string' ? undefined : found;
  };
  return judgeCrl(bytes, delta, judged);
}

/** Returns the bytes of an item, or why there are none. */
export function bytesOf(item: RevocationItem | undefined): Uint8Array | string {
  if (item === undefined) return 'no answer was requested';
  return item.problem ?? decodeBase64(item.bytes) ?? 'its answer is missing';
}
