import type { SignedIdentity } from './signed-identity.ts';

/** What a requirement asks of a signature that is right; judged by facts that stand under the signature alone. */
export interface Constraints {
  /** Which digest must have been signed; either unless told. */
  readonly signs?: 'index' | 'manifest';
  /** How the name that the signature carries must relate to the image's. */
  readonly signedIdentity?: SignedIdentity;
  /** Signed annotations that must be there: name to pattern (`*` any characters). */
  readonly annotations?: Readonly<Record<string, string>>;
  /** Seconds since the proven time of signing. */
  readonly maxAge?: number;
  /** ISO 8601: the signature must be proven to have been made then or later. */
  readonly notBefore?: string;
}
