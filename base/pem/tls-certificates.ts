import { X509Certificate } from 'node:crypto';
import { pemBlocks } from './read.ts';
import { writePem } from './write.ts';

/**
 * Returns the certificates of a text for use by TLS, in order, one block each. Blocks of other types are left
 * out. OpenSSL reads the certificates here, because OpenSSL will verify connections with them: authorities of
 * systems and clusters have encodings that the strict reader of `trust/x509` refuses.
 * @throws Error when there is none, or one cannot be read
 */
export function tlsCertificates(text: string | Uint8Array): readonly string[] {
  const certificates = pemBlocks(text).filter(({ type }) => type === 'CERTIFICATE');
  if (certificates.length === 0) throw new Error('it contains no PEM certificate');
  return certificates.map(({ content }) => {
    if (!isTlsCertificate(content)) throw new Error('its PEM block is not a readable certificate');
    return writePem('CERTIFICATE', content);
  });
}

/** Returns whether OpenSSL reads the DER as a certificate. */
export function isTlsCertificate(content: Buffer): boolean {
  try {
    new X509Certificate(content);
    return true;
  } catch {
    return false;
  }
}
