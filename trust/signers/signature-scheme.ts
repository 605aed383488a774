/**
 * How a message is hashed and signed. ECDSA signatures are DER here; JWS and COSE, which require r‖s, convert
 * them.
 */
export type SignatureScheme =
  | 'ecdsa-sha256'
  | 'ecdsa-sha384'
  | 'ecdsa-sha512'
  | 'rsa-pkcs1-sha256'
  | 'rsa-pss-sha256'
  | 'rsa-pss-sha384'
  | 'rsa-pss-sha512'
  | 'ed25519'
  | 'ed25519ph'
  /** Pure ML-DSA with an empty context (FIPS 204), with the parameter set of the key. */
  | 'ml-dsa';
