/**
 * Media type of a sigstore bundle, version 0.3, and the older spellings for it and for older versions
 * (sigstore/protobuf-specs).
 */
export const bundleMediaType = 'application/vnd.dev.sigstore.bundle.v0.3+json';
export const bundleMediaTypes: readonly string[] = [
  bundleMediaType,
  ...['0.3', '0.2', '0.1'].map((version) => `application/vnd.dev.sigstore.bundle+json;version=${version}`),
];

/** Predicate type of the statement that cosign v3 signs for an image. */
export const cosignPredicateType = 'https://sigstore.dev/cosign/sign/v1';
export const bundleContentAnnotation = 'dev.sigstore.bundle.content';
export const predicateTypeAnnotation = 'dev.sigstore.bundle.predicateType';

/** Layer of cosign's older form, under the tag `sha256-<hex>.sig` (cosign, specs/SIGNATURE_SPEC.md). */
export const simpleSigningMediaType = 'application/vnd.dev.cosign.simplesigning.v1+json';
export const signatureAnnotation = 'dev.cosignproject.cosign/signature';
/**
 * Annotations of such a layer that are evidence: the signature, and the further data of a keyless signature
 * (certificate, log entry, time stamp).
 */
export const legacyAnnotations: readonly string[] = [
  signatureAnnotation,
  'dev.sigstore.cosign/certificate',
  'dev.sigstore.cosign/chain',
  'dev.sigstore.cosign/bundle',
  'dev.sigstore.cosign/rfc3161timestamp',
];
export const simpleSigningType = 'cosign container image signature';

export const inTotoPayloadType = 'application/vnd.in-toto+json';
export const statementType = 'https://in-toto.io/Statement/v1';

export const ociManifestType = 'application/vnd.oci.image.manifest.v1+json';
export const ociConfigType = 'application/vnd.oci.image.config.v1+json';
export const emptyType = 'application/vnd.oci.empty.v1+json';

/**
 * Layer of an attestation in cosign's older form, under the tag `sha256-<hex>.att`, and the annotation with
 * its type.
 */
export const dsseMediaType = 'application/vnd.dsse.envelope.v1+json';
export const legacyPredicateTypeAnnotation = 'predicateType';

/** Returns the tag of attestations in cosign's older form: `sha256:abc` → `sha256-abc.att`. */
export function attestationTag(digest: string): string {
  return `${digest.replace(':', '-')}.att`;
}

/** Returns the tag of signatures in cosign's older form: `sha256:abc` → `sha256-abc.sig`. */
export function signatureTag(digest: string): string {
  return `${digest.replace(':', '-')}.sig`;
}
