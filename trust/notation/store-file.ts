import { mentionsPrivateKey, readPem } from '../../base/pem/index.ts';
import { readCertificate, isSelfSigned } from '../x509/certificate.ts';
import type { Certificate } from '../x509/certificate.ts';
import { eachDer } from '../x509/der.ts';
import type { StoreType, TrustStore } from '../requirements/notation.ts';

const maximumCertificates = 100;

/**
 * Reads the certificates of one file of a trust store: PEM blocks, or consecutive DER. Each certificate must
 * belong to an authority or be self-signed; those for timestamps must be roots (notation-go
 * verifier/truststore).
 * @returns a sentence when the file cannot be used
 */
export function readStoreFile(
  file: string,
  bytes: Buffer,
  type: StoreType,
): TrustStore['certificates'] | string {
  try {
    const certificates = derOf(bytes).map((der) => readCertificate(der));
    if (certificates.length === 0) return 'it contains no certificate';
    for (const certificate of certificates) {
      const problem = anchorProblem(certificate, type);
      if (problem !== undefined) return `its certificate "${certificate.subjectName.text}" ${problem}`;
    }
    return certificates.map(({ raw }) => ({ file, der: raw.toString('base64') }));
  } catch (error) {
    return (error as Error).message;
  }
}

function anchorProblem(certificate: Certificate, type: StoreType): string | undefined {
  if (type === 'tsa')
    return isSelfSigned(certificate) ? undefined : 'is not a self-signed root, which time stamping requires';
  return certificate.isAuthority || isSelfSigned(certificate)
    ? undefined
    : 'neither belongs to an authority nor is self-signed';
}

/** Returns the certificates of a file in PEM or DER, in order. @throws Error with a sentence */
export function derOf(bytes: Buffer): readonly Buffer[] {
  const text = bytes.toString('latin1');
  const { blocks, damaged } = readPem(text);
  if (blocks.length === 0 && !damaged) return bounded([...eachDer(bytes)].map(({ whole }) => whole));
  if (mentionsPrivateKey(text)) throw new Error('it contains a private key');
  if (damaged) throw new Error('a PEM block is damaged');
  const other = blocks.find(({ type }) => type !== 'CERTIFICATE');
  if (other !== undefined) throw new Error(`a PEM block is "${other.type}", not "CERTIFICATE"`);
  return bounded(blocks.map(({ content }) => content));
}

function bounded(list: readonly Buffer[]): readonly Buffer[] {
  if (list.length > maximumCertificates)
    throw new Error(`it contains more than ${maximumCertificates} certificates`);
  return list;
}
