/**
 * Types and labels of the Notary Project (specifications: signature-specification.md,
 * signature-envelope-jws.md, signature-envelope-cose.md).
 */
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
  ocspBasic: '1.3.6.1.5.5.7.48.1.1',
  anyPurpose: '2.5.29.37.0',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  codeSigning: '1.3.6.1.5.5.7.3.3',
  emailProtection: '1.3.6.1.5.5.7.3.4',
  timeStamping: '1.3.6.1.5.5.7.3.8',
  ocspSigning: '1.3.6.1.5.5.7.3.9',
  sha1: '1.3.14.3.2.26',
} as const;
