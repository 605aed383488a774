/** Types and labels of the Notary Project (specifications: signature-specification.md, signature-envelope-jws.md, signature-envelope-cose.md). */
export const notationArtifactType = 'application/vnd.cncf.notary.signature';
export const jwsMediaType = 'application/jose+json';
export const coseMediaType = 'application/cose';
export const envelopeMediaTypes: readonly string[] = [jwsMediaType, coseMediaType];
export const payloadContentType = 'application/vnd.cncf.notary.payload.v1+json';
export const thumbprintAnnotation = 'io.cncf.notary.x509chain.thumbprint#S256';

export const headers = {
  scheme: 'io.cncf.notary.signingScheme',
  signingTime: 'io.cncf.notary.signingTime',
  authenticSigningTime: 'io.cncf.notary.authenticSigningTime',
  expiry: 'io.cncf.notary.expiry',
  timestampSignature: 'io.cncf.notary.timestampSignature',
  signingAgent: 'io.cncf.notary.signingAgent',
} as const;

export const signingSchemes = ['notary.x509', 'notary.x509.signingAuthority'] as const;
export type SigningScheme = (typeof signingSchemes)[number];

export const oids = {
  keyUsage: '2.5.29.15',
  basicConstraints: '2.5.29.19',
  crlDistributionPoints: '2.5.29.31',
  freshestCrl: '2.5.29.46',
  extendedKeyUsage: '2.5.29.37',
  authorityInformation: '1.3.6.1.5.5.7.1.1',
  ocspMethod: '1.3.6.1.5.5.7.48.1',
  ocspBasic: '1.3.6.1.5.5.7.48.1.1',
  crlNumber: '2.5.29.20',
  deltaCrlIndicator: '2.5.29.27',
  issuingDistributionPoint: '2.5.29.28',
  invalidityDate: '2.5.29.24',
  reasonCode: '2.5.29.21',
  anyPurpose: '2.5.29.37.0',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  emailProtection: '1.3.6.1.5.5.7.3.4',
  timeStamping: '1.3.6.1.5.5.7.3.8',
  ocspSigning: '1.3.6.1.5.5.7.3.9',
  sha1: '1.3.14.3.2.26',
  signedData: '1.2.840.113549.1.7.2',
  timeStampInfo: '1.2.840.113549.1.9.16.1.4',
  contentType: '1.2.840.113549.1.9.3',
  messageDigest: '1.2.840.113549.1.9.4',
  signingCertificateV2: '1.2.840.113549.1.9.16.2.47',
} as const;

/** Digest algorithms that count; SHA-1 does not (signature-specification.md, "Certificate Requirements"). */
export const hashes: Readonly<Record<string, 'sha256' | 'sha384' | 'sha512'>> = {
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
};
