import type { SignedIdentity } from './signed-identity.ts';

/** Constraints on a signature that is cryptographically valid. They are checked against signed facts only. */
export interface Constraints {
  /** Which digest must be signed. Default: either. */
  readonly signs?: 'index' | 'manifest';
  /** How the name in the signature must relate to the name of the image. */
  readonly signedIdentity?: SignedIdentity;
  /** Signed annotations that are required: name to pattern (`*` matches any characters). */
  readonly annotations?: Readonly<Record<string, string>>;
  /** Maximum age in seconds since the proven time of signing. */
  readonly maxAge?: number;
  /** ISO 8601. The signature must be proven to have been made at this time or later. */
  readonly notBefore?: string;
}
