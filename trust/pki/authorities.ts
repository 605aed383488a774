import { mentionsPrivateKey } from '../../base/pem/index.ts';
import { readCertificate } from '../x509/certificate.ts';
import type { Certificate } from '../x509/certificate.ts';
import { certificateBytesOfPem } from '../x509/pem.ts';
import type { PolicyCertificates } from '../requirements/types.ts';

const read = new WeakMap<PolicyCertificates, readonly Certificate[]>();

/**
 * Returns the certificates of a policy, read once.
 * @throws DerError when one cannot be used; loading a policy has already checked them
 */
export function certificatesOf(named: PolicyCertificates | undefined): readonly Certificate[] {
  if (named === undefined) return [];
  let certificates = read.get(named);
  if (certificates === undefined) {
    certificates = named.certificates.map((one) => readCertificate(Buffer.from(one, 'base64')));
    read.set(named, certificates);
  }
  return certificates;
}

const maximum = 256;

/**
 * Reads the certificates of a PEM file.
 * @throws Error that names the mistake
 */
export function readPemCertificates(name: string, pem: Buffer): PolicyCertificates {
  if (mentionsPrivateKey(pem.toString('latin1')))
    throw new Error('it contains a private key; a policy names certificates');
  const certificates = certificateBytesOfPem(pem);
  if (certificates.length === 0) throw new Error('there is no PEM certificate in it');
  if (certificates.length > maximum) throw new Error(`it contains more than ${maximum} certificates`);
  for (const [index, certificate] of certificates.entries()) {
    try {
      readCertificate(certificate);
    } catch (error) {
      throw new Error(`its certificate ${index + 1} cannot be used: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }
  return { name, certificates: certificates.map((one) => one.toString('base64')) };
}
