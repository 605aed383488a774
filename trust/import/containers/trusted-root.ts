import { createHash } from 'node:crypto';
import { keyObjectOf, parsePublicKey } from '../../keys/public-key.ts';
import type { Certificate } from '../../x509/certificate.ts';
import { certificatesOfPem } from '../../x509/pem.ts';

const curves: Readonly<Record<string, string>> = {
  prime256v1: 'PKIX_ECDSA_P256_SHA_256',
  secp384r1: 'PKIX_ECDSA_P384_SHA_384',
  secp521r1: 'PKIX_ECDSA_P521_SHA_512',
};

/** containers policies do not limit trust in time, but a trusted root must have a start. */
const always = { start: '1970-01-01T00:00:00Z' };

/**
 * Makes a sigstore `trusted_root.json` from the material of a containers policy: public keys of Rekor logs,
 * certificates of Fulcio. Each certificate is a trust anchor of its own, as in Go's pools.
 * @throws Error that names the part that cannot be used
 */
export function makeTrustedRoot(rekorKeys: readonly Buffer[], authorities: readonly Buffer[]): Buffer {
  const root = {
    mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
    tlogs: rekorKeys.map(readRekorKey).map(({ spki, details }) => ({
      baseUrl: '',
      hashAlgorithm: 'SHA2_256',
      publicKey: { rawBytes: spki.toString('base64'), keyDetails: details, validFor: always },
      logId: { keyId: createHash('sha256').update(spki).digest('base64') },
    })),
    certificateAuthorities: authorities.flatMap(readCertificates).map((certificate) => ({
      uri: '',
      certChain: { certificates: [{ rawBytes: certificate.toString('base64') }] },
      validFor: always,
    })),
    ctlogs: [],
    timestampAuthorities: [],
  };
  return Buffer.from(`${JSON.stringify(root, null, 2)}\n`);
}

function readRekorKey(pem: Buffer): { readonly spki: Buffer; readonly details: string } {
  const key = parsePublicKey('rekor', pem.toString('latin1'));
  if ('problem' in key)
    throw new Error('a Rekor key is not a PEM public key', { cause: new Error(key.problem) });
  const details = curves[keyObjectOf(key).asymmetricKeyDetails?.namedCurve ?? ''];
  if (details === undefined)
    throw new Error('a Rekor key is not ECDSA, which the image library requires, too');
  return { spki: Buffer.from(key.spki, 'base64'), details };
}

/**
 * Returns every certificate of a PEM file.
 * @throws Error when there is none, or one cannot be read
 */
export function readCertificates(pem: Buffer): readonly Buffer[] {
  let certificates: readonly Certificate[];
  try {
    certificates = certificatesOfPem(pem);
  } catch (error) {
    throw new Error('a certificate in it cannot be read', { cause: error });
  }
  if (certificates.length === 0) throw new Error('there is no PEM certificate in it');
  return certificates.map(({ raw }) => raw);
}
