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
  verificationPlugin: 'io.cncf.notary.verificationPlugin',
} as const;

export const signingSchemes = ['notary.x509', 'notary.x509.signingAuthority'] as const;
export type SigningScheme = (typeof signingSchemes)[number];
