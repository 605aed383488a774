import { X509Certificate, createHash, createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

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
  let key: KeyObject;
  try {
    key = createPublicKey({ key: pem, format: 'pem' });
  } catch (error) {
    throw new Error('a Rekor key is no PEM public key', { cause: error });
  }
  const details = curves[key.asymmetricKeyDetails?.namedCurve ?? ''];
  if (details === undefined)
    throw new Error('a Rekor key is not ECDSA, which the image library demands, too');
  return { spki: key.export({ type: 'spki', format: 'der' }), details };
}

/**
 * Returns every certificate of a PEM file.
 * @throws Error when there is none, or one cannot be read
 */
export function readCertificates(pem: Buffer): readonly Buffer[] {
  const blocks =
    pem.toString('latin1').match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw new Error('there is no PEM certificate in it');
  try {
    return blocks.map((block) => new X509Certificate(block).raw);
  } catch (error) {
    throw new Error('a certificate in it cannot be read', { cause: error });
  }
}
