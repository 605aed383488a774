import { readCertificate } from './certificate.ts';
import type { Certificate } from './certificate.ts';

const block = /-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END CERTIFICATE-----/g;

/**
 * Returns the certificates of a PEM text, in order; none for a text without one. @throws DerError when one
 * cannot be read
 */
export function certificatesOfPem(pem: Uint8Array): readonly Certificate[] {
  const text = Buffer.from(pem).toString('latin1');
  return [...text.matchAll(block)].map(([, body = '']) => readCertificate(Buffer.from(body, 'base64')));
}

/** Returns the common name of a certificate's subject, if it has exactly one. */
export function commonNameOf({ subjectName }: Certificate): string | undefined {
  const [name, other] = subjectName.attributes.filter(({ type }) => type === 'CN');
  return other === undefined ? name?.value : undefined;
}
