import { X509Certificate, createPrivateKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { PortcullisError, orThrow } from '../../base/errors/index.ts';
import { tlsCertificates } from '../../base/pem/index.ts';

/** The certificate and key with which the webhook serves TLS. */
export interface ServingPair {
  /** PEM, leaf first. */
  readonly certificate: string;
  /** PEM. A secret. */
  readonly key: string;
  readonly until: Date;
}

/**
 * Checks a certificate chain and its key.
 * @param on where they come from, for messages
 * @throws PortcullisError ADMISSION_TLS, without any part of the key
 */
export function readPair(certificate: string, key: string, on: string): ServingPair {
  const fail = (why: string): PortcullisError =>
    new PortcullisError({
      code: 'ADMISSION_TLS',
      kind: 'invalid',
      attempted: 'read the certificate of the webhook',
      on,
      why,
      fix: 'name a PEM certificate chain and its private key',
    });
  let leaf: X509Certificate;
  try {
    const [first] = tlsCertificates(certificate);
    if (first === undefined) throw new Error('none');
    leaf = new X509Certificate(first);
  } catch {
    throw fail('it has no readable certificate');
  }
  const privateKey: KeyObject = orThrow(
    () => createPrivateKey(key),
    () => fail('the private key cannot be read'),
  );
  if (!leaf.checkPrivateKey(privateKey)) throw fail('the key does not belong to the certificate');
  return { certificate, key, until: leaf.validToDate };
}
