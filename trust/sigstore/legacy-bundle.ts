import { decodeBase64, parseStrictJson, recordOf, textOf } from '../json/strict-json.ts';
import { certificateBytesOfPem } from '../x509/pem.ts';
import { latestSecond } from './bundle.ts';
import type { Bundle, LogEntry } from './bundle.ts';

/** Annotations of cosign's older form (cosign pkg/oci/static/annotations.go). */
const certificateAnnotation = 'dev.sigstore.cosign/certificate';
const chainAnnotation = 'dev.sigstore.cosign/chain';
/** The annotations that only describe the signer. */
export const signerAnnotations: readonly string[] = [certificateAnnotation, chainAnnotation];
const bundleAnnotation = 'dev.sigstore.cosign/bundle';
const timeStampAnnotation = 'dev.sigstore.cosign/rfc3161timestamp';

const maximumCertificates = 8;

/**
 * Builds a bundle from a signature in cosign's older form: the certificate and its chain (PEM), the log's
 * promise with its entry (JSON), the timestamp (JSON). This form has no inclusion proof: the promise (SET)
 * replaces it.
 * @throws Error with a sentence that states what is malformed
 */
export function legacyBundle(signature: Buffer, annotations: Readonly<Record<string, string>>): Bundle {
  const leaf = readCertificates(annotations[certificateAnnotation]);
  if (leaf.length > 1)
    throw new Error(`its annotation ${certificateAnnotation} contains ${leaf.length} certificates, not one`);
  // Without the leaf certificate, the first certificate of the chain would be taken for the signer's.
  const certificates = leaf.length === 0 ? [] : [...leaf, ...readCertificates(annotations[chainAnnotation])];
  if (certificates.length > maximumCertificates)
    throw new Error(`it has more than ${maximumCertificates} certificates`);
  const entry = readEntry(annotations[bundleAnnotation]);
  const stamp = readJson(annotations[timeStampAnnotation], timeStampAnnotation)?.['SignedRFC3161Timestamp'];
  const timeStamp = stamp === undefined ? undefined : decodeBase64(stamp);
  if (stamp !== undefined && timeStamp === undefined)
    throw new Error(`its annotation ${timeStampAnnotation} contains no base64`);
  return {
    version: 'legacy',
    content: { kind: 'message', signature },
    certificates,
    logEntries: entry === undefined ? [] : [entry],
    timeStamps: timeStamp === undefined ? [] : [timeStamp],
  };
}

function readCertificates(pem: string | undefined): readonly Buffer[] {
  if (pem === undefined || pem.trim() === '') return [];
  const certificates = certificateBytesOfPem(pem);
  if (certificates.length === 0) throw new Error('its certificate is not PEM');
  return certificates;
}

function readEntry(text: string | undefined): LogEntry | undefined {
  const bundle = readJson(text, bundleAnnotation);
  const payload = recordOf(bundle?.['Payload']);
  if (bundle === undefined) return undefined;
  const promise = decodeBase64(bundle['SignedEntryTimestamp']);
  const body = decodeBase64(payload?.['body']);
  const { integratedTime, logIndex, logID } = payload ?? {};
  if (
    promise === undefined ||
    body === undefined ||
    !isCount(integratedTime) ||
    integratedTime > latestSecond ||
    !isCount(logIndex) ||
    !isHex(logID)
  )
    throw new Error(`its annotation ${bundleAnnotation} is malformed`);
  const kind = recordOf(parseStrictJson(body));
  return {
    logId: Buffer.from(logID, 'hex').toString('base64'),
    logIndex: String(logIndex),
    kind: textOf(kind?.['kind']) ?? '',
    version: textOf(kind?.['apiVersion']) ?? '',
    integratedTime,
    promise,
    body,
  };
}

function readJson(
  text: string | undefined,
  annotation: string,
): Readonly<Record<string, unknown>> | undefined {
  if (text === undefined || text === '' || text === 'null') return undefined;
  const record = recordOf(parseStrictJson(Buffer.from(text)));
  if (record === undefined) throw new Error(`its annotation ${annotation} is not an object`);
  return record;
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function isHex(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{64}$/.test(value);
}
