/**
 * Digests by sigstore's names of key types (sigstore/protobuf-specs sigstore_common.proto, PublicKeyDetails);
 * null where the algorithm hashes by itself. RSA keys are PKCS #1 v1.5.
 */
const digests: Readonly<Record<string, string | null>> = {
  PKIX_ECDSA_P256_SHA_256: 'sha256',
  PKIX_ECDSA_P384_SHA_384: 'sha384',
  PKIX_ECDSA_P521_SHA_512: 'sha512',
  PKIX_ECDSA_P256_HMAC_SHA_256: 'sha256',
  PKIX_ED25519: null,
  ML_DSA_44: null,
  ML_DSA_65: null,
  ML_DSA_87: null,
  PKCS1_RSA_PKCS1V5: 'sha256',
  PKIX_RSA_PKCS1V5: 'sha256',
  PKIX_RSA_PKCS1V15_2048_SHA256: 'sha256',
  PKIX_RSA_PKCS1V15_3072_SHA256: 'sha256',
  PKIX_RSA_PKCS1V15_4096_SHA256: 'sha256',
};

/** Returns the digest of a key type; undefined when this version does not know the type. */
export function digestOfKeyDetails(details: string): string | null | undefined {
  return Object.hasOwn(digests, details) ? digests[details] : undefined;
}

/** Node's names of the digests, by sigstore's names (HashAlgorithm). */
const hashes: Readonly<Record<string, string>> = {
  SHA2_256: 'sha256',
  SHA2_384: 'sha384',
  SHA2_512: 'sha512',
};

export function digestOfHashAlgorithm(name: unknown): string | undefined {
  return typeof name === 'string' && Object.hasOwn(hashes, name) ? hashes[name] : undefined;
}
