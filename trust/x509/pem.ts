import { pemBlocks } from '../../base/pem/index.ts';
import { readCertificate } from './certificate.ts';
import type { Certificate } from './certificate.ts';

/**
 * Returns the DER of the certificates of a PEM text, in order; none for a text without one. Blocks of other
 * types are left out. The DER is not read.
 * @throws Error when a block of the text is damaged
 */
export function certificateBytesOfPem(pem: string | Uint8Array): readonly Buffer[] {
  return pemBlocks(pem)
    .filter(({ type }) => type === 'CERTIFICATE')
    .map(({ content }) => content);
}

/**
 * Returns the certificates of a PEM text, in order; none for a text without one.
 * @throws Error, DerError when a block of the text is damaged, or a certificate cannot be read
 */
export function certificatesOfPem(pem: string | Uint8Array): readonly Certificate[] {
  return certificateBytesOfPem(pem).map((bytes) => readCertificate(bytes));
}

/** Returns the common name of a certificate's subject, if it has exactly one. */
export function commonNameOf({ subjectName }: Certificate): string | undefined {
  const [name, other] = subjectName.attributes.filter(({ type }) => type === 'CN');
  return other === undefined ? name?.value : undefined;
}
